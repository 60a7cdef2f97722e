/** Loops and choices that are part of a computation: `scan`, `cond`, `whileLoop`. Their functions are traced once; the tensors of
 *  outside that they use come in as arguments. Outside of traces and transforms they run at once, as a jitted function does. */
import { programFor } from "../compiler/cache.ts";
import { cond as condNode } from "../control/cond.ts";
import { control } from "../control/ops.ts";
import { scan as scanNode } from "../control/scan.ts";
import { whileOp } from "../control/while.ts";
import { ArgumentError, ShapeError, TraceError, TreeError } from "../errors.ts";
import { dimText, known } from "../ir/dim.ts";
import { type Fn, makeFn, topological } from "../ir/fn.ts";
import { dimsOf, type Node, type NodeOf, tensorTypeOf } from "../ir/node.ts";
import { currentScope, remake, within } from "../ir/scope.ts";
import { located } from "../ir/site.ts";
import { type TensorType, tensorType, type TupleType, typeText } from "../ir/type.ts";
import { item } from "../ops/build.ts";
import { load, newScope } from "../ops/table.ts";
import { encode } from "./dtypes.ts";
import { flush, streamOf } from "./flush.ts";
import { nodeOf, type Operand } from "./operand.ts";
import { asPending, isTransforming, lazyScope, leaf } from "./pending.ts";
import { Tensor } from "./tensor.ts";
import { rebuild, trace, type Traced } from "./trace.ts";
import { mapLeaves, structure, tensors } from "./tree.ts";

load(control);

/** How `scan` goes through its inputs. */
export interface ScanOptions {
  /** The number of steps, where no stacked input tells it. */
  readonly length?: number;
  /** From the last row to the first; the outputs lie where their rows do. */
  readonly reverse?: boolean;
}

/** f over the rows of `xs`, with a carry that goes from step to step: one loop on the device, however many steps there are.
 *
 *  Its reverse derivative keeps what each step needs (less, where f is a `remat`); its forward derivative keeps nothing.
 *  @param f     from the carry and a row to the next carry, of the same shapes, and a row of the stacked result
 *  @param init  a tree of tensors
 *  @param xs    a tree of tensors with the steps as their first axis, or null
 *  @returns the last carry, and f's second results stacked along a first axis
 *  @throws ShapeError if the rows differ in number, or the carry changes shape; TreeError if it changes structure; ArgumentError for
 *    a length that is not known
 *  @example const [last, sums] = scan((c: Tensor, x: Tensor) => [c.add(x), c], tensor(0), tensor([1, 2, 3]));   // 6 and [0, 1, 3] */
export const scan = <C, X, Y>(
  f: (carry: C, x: X) => readonly [C, Y],
  init: C,
  xs: X,
  { length, reverse = false }: ScanOptions = {},
): [C, Y] =>
  located(() => {
    const carry = leavesOf("scan", "the carry", init);
    const stacked = leavesOf("scan", "xs", xs);
    const steps = stepsOf(stacked, length);
    const rows = stacked.map((t) => tensorType(t.dtype, t.dims.slice(1)));
    const traced = trace("scan", [...carry.map(deviceType), ...rows], (params) => {
      const [next, y] = f(filled(init, params), filled(xs, params.slice(carry.length))) as [C, Y];
      checkCarry("scan", init, next);
      leavesOf("scan", "the second result", y);
      return [next, y];
    });
    const consts = outsideOf("scan", [traced]);
    const attr = { fn: arranged(traced, consts), consts: consts.length, carry: carry.length, length: steps, reverse };
    const results = made([...consts, ...carry, ...stacked], (src) => scanNode(src, attr));
    return rebuild(traced.output, results) as [C, Y];
  });

/** What one of two functions gives, chosen by a value that only the device knows. The other does not run; under a `vmap` whose
 *  examples choose differently both do.
 *
 *  @param predicate  bool, a scalar
 *  @throws DTypeError for another predicate; ShapeError, TreeError if the functions give different things
 *  @example cond(x.sum().less(0), (v: Tensor) => v.neg(), (v: Tensor) => v, x) */
export const cond = <A extends readonly unknown[], Y>(
  predicate: Operand,
  yes: (...args: A) => Y,
  no: (...args: A) => Y,
  ...args: A
): Y =>
  located(() => {
    const given = tensors(args).map(({ tensor }) => tensor);
    const [a, b] = [yes, no].map((f, i) =>
      trace(i === 0 ? "yes" : "no", given.map(deviceType), (params) => {
        const y = f(...filled(args, params));
        leavesOf("cond", "the result", y);
        return y;
      }),
    ) as [Traced, Traced];
    const [one, other] = [structureOf(a), structureOf(b)];
    if (one !== other) throw new TreeError(`cond: the functions give different trees: ${one} and ${other}`);
    const consts = outsideOf("cond", [a, b]);
    const attr = { yes: arranged(a, consts), no: arranged(b, consts) };
    const chooses = new Tensor(nodeOf("cond", predicate));
    const results = made([chooses, ...consts, ...given], ([p, ...src]) => condNode(p as Node, src, attr));
    return rebuild(a.output, results) as Y;
  });

/** The body run on its own result for as long as the test of it holds. The device's values decide how often, so the host waits for
 *  one of them at each step, behind the caller's back. It has no reverse derivative.
 *
 *  @param test  from the carry to a bool scalar
 *  @param body  from the carry to the next one, of the same shapes
 *  @throws ShapeError if the carry changes shape; TreeError if it changes structure; DTypeError for a test that is not bool; TraceError
 *    from a reverse derivative
 *  @example whileLoop((x: Tensor) => x.less(100), (x: Tensor) => x.mul(2), tensor(3))   // 192 */
export const whileLoop = <C>(test: (carry: C) => Tensor, body: (carry: C) => C, init: C): C =>
  located(() => {
    const carry = leavesOf("whileLoop", "the carry", init);
    const types = carry.map(deviceType);
    const goesOn = trace("test", types, (params) => {
      const verdict: unknown = test(filled(init, params));
      if (verdict instanceof Tensor) return verdict;
      throw new ArgumentError(`whileLoop: expected the test to return a tensor, got ${typeof verdict}`);
    });
    const step = trace("body", types, (params) => {
      const next = body(filled(init, params));
      checkCarry("whileLoop", init, next);
      return next;
    });
    const consts = outsideOf("whileLoop", [goesOn, step]);
    const attr = { test: arranged(goesOn, consts), body: arranged(step, consts), consts: consts.length };
    const results = made([...consts, ...carry], (src) => whileOp(src, attr));
    return rebuild(step.output, results) as C;
  });

const deviceType = (t: Tensor): TensorType => tensorType(t.dtype, t.dims);

/** The tensors of a tree, which must have no numbers: those would be frozen into the loop. */
function leavesOf(op: string, what: string, tree: unknown): Tensor[] {
  mapLeaves(tree, (value, path) => {
    if (typeof value === "number" || typeof value === "boolean")
      throw new ArgumentError(
        `${op}: ${what}${path && ` at ${path}`} is the ${typeof value} ${value}; expected a tensor`,
        {
          hint: `write tensor(${value})`,
        },
      );
    return value;
  });
  return tensors(tree).map(({ tensor }) => tensor);
}

function stepsOf(stacked: readonly Tensor[], given: number | undefined): number {
  let length = given;
  for (const t of stacked) {
    const [rows] = t.dims;
    if (rows === undefined) throw new ShapeError(`scan: ${typeText(t.type)} has no first axis to go along`);
    const own = known(rows, "scan: the number of steps");
    if (length !== undefined && own !== length)
      throw new ShapeError(`scan: ${typeText(t.type)} has ${dimText(rows)} rows, expected ${length}`);
    length = own;
  }
  if (length === undefined || !Number.isInteger(length) || length < 0)
    throw new ArgumentError(`scan: expected stacked inputs or a length, got ${String(length)}`);
  return length;
}

/** The tree with its tensors replaced by the first of these. */
function filled<T>(tree: T, values: readonly Tensor[]): T {
  let next = 0;
  return mapLeaves(tree, (value) => (value instanceof Tensor ? values[next++] : value)) as T;
}

function checkCarry(op: string, before: unknown, after: unknown): void {
  leavesOf(op, "the carry that comes back", after);
  if (structure(before) !== structure(after))
    throw new TreeError(`${op}: the carry goes in as ${structure(before)} and comes back as ${structure(after)}`, {
      hint: "the body must give a tree like the initial one",
    });
  const now = tensors(after);
  tensors(before).forEach(({ path, tensor }, i) => {
    const own = now[i]?.tensor as Tensor;
    const [want, got] = [typeText(deviceType(tensor)), typeText(deviceType(own))];
    if (want !== got)
      throw new ShapeError(`${op}: the carry${path && ` at ${path}`} goes in as ${want} and comes back as ${got}`, {
        hint: "cast or reshape it, or begin with one of that type",
      });
  });
}

const structureOf = ({ output, fn }: Traced): string =>
  `${structure(mapLeaves(output, () => "*"))} of ${fn.results.map((r) => typeText(r.type)).join(", ")}`;

/** The tensors of outside that bodies use, each once. */
function outsideOf(op: string, all: readonly Traced[]): Tensor[] {
  if (all.some(({ assigned }) => assigned.length > 0))
    throw new TraceError(`${op}: assign is not possible inside a loop or a branch`, {
      hint: "return the value and assign it outside",
    });
  return [...new Set(all.flatMap(({ captured }) => captured.filter((t) => t instanceof Tensor)))];
}

/** The traced function with what it uses of outside in front of its parameters. Names that transforms gave to values inside it mean
 *  nothing any more. */
function arranged({ fn, captured }: Traced, outside: readonly Tensor[]): Fn {
  const explicit = fn.params.length - captured.length;
  const scope = newScope();
  return within(scope, () => {
    const types = [...outside.map(deviceType), ...fn.params.slice(0, explicit).map(tensorTypeOf)];
    const params = types.map((type, index) => scope.make("param", [], { index, name: "", type }));
    const known = new Map<Node, Node>();
    fn.params.forEach((p, i) => {
      const at = i < explicit ? outside.length + i : outside.indexOf(captured[i - explicit] as Tensor);
      known.set(p, params[at] as Node);
    });
    for (const n of topological(fn.results, (m) => !known.has(m))) {
      if (known.has(n)) continue;
      const src = n.src.map((s) => known.get(s) as Node);
      known.set(n, n.op === "alias" ? (src[0] as Node) : remake(scope, n, src));
    }
    return makeFn(
      fn.name,
      params,
      fn.results.map((r) => known.get(r) as Node),
    );
  });
}

/** The results of a node over these tensors; outside of traces and transforms computed at once. */
function made(inputs: readonly Tensor[], build: (src: readonly Node[]) => Node): Tensor[] {
  const items = (node: Node): Node[] => (node.type as TupleType).tuple.map((_, j) => item(node, j));
  const nodes = inputs.map((t) => t.node);
  if (currentScope() !== lazyScope || isTransforming()) return items(build(nodes)).map((n) => new Tensor(n));
  const scope = newScope();
  const fn = within(scope, () => {
    const params: NodeOf<"param">[] = nodes.map((n, index) =>
      scope.make("param", [], { index, name: "", type: tensorType(tensorTypeOf(n).dtype, dimsOf(n)) }),
    );
    return makeFn("control", params, items(build(params)));
  });
  flush(nodes);
  const values = nodes.map((n) => asPending(n).value);
  const stream = streamOf(values.filter((v) => v !== null));
  const args = values.map((v, i) => {
    const type = tensorTypeOf(fn.params[i] as Node);
    return typeof v === "number" ? stream.upload(type, encode(type.dtype, [v])) : v;
  });
  const outputs = programFor(fn, stream).run(args.filter((v) => v !== null));
  return outputs.map((b) => new Tensor(leaf(b.type, b)));
}
