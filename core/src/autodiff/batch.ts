/** `vmap` over a graph: each node whose sources carry the mapped axis is built again with that axis in front. Element-wise
 *  ops, reductions and products carry it along; movement ops get it as one more leading axis; the rest have a rule each. */
import { VerifyError } from "../errors.ts";
import { type Dim, dimText, known } from "../ir/dim.ts";
import { type Fn, makeFn, topological } from "../ir/fn.ts";
import { type Attrs, dimsOf, dtypeOf, type Node, type NodeOf, type Op } from "../ir/node.ts";
import { currentScope, remake, within } from "../ir/scope.ts";
import { isTuple, type TensorType, tensorType, type Type } from "../ir/type.ts";
import * as b from "../ops/build.ts";
import { freeAxes } from "../ops/contraction.ts";
import { customRules, extended, rematerialised, waiting } from "./marks.ts";
import { bits, type Memo, once } from "./memo.ts";
import { define, newScope } from "../ops/table.ts";

/** The roots for the mapped leaves: `batched` gives, for nodes of the unmapped graph, what stands for them with the axis of
 *  `size` in front. Roots that do not depend on them come back as they are.
 *  @returns each root and whether it carries the axis */
export function batch(
  roots: readonly Node[],
  batched: ReadonlyMap<Node, Node>,
  size: Dim,
): { node: Node; mapped: boolean }[] {
  const mapped = new Map<Node, Node>(batched);
  for (const node of topological(roots, (n) => !mapped.has(n))) {
    if (mapped.has(node) || !node.src.some((s) => mapped.has(s))) continue;
    mapped.set(node, carry(node, mapped, size));
  }
  return roots.map((r) => ({ node: mapped.get(r) ?? r, mapped: mapped.has(r) }));
}

/** What the rule of an op is given: its sources, some of which carry the axis. */
export interface Carried {
  readonly has: readonly boolean[];
  /** Source i as it is: with the axis in front where it has it. */
  readonly x: (i?: number) => Node;
  /** Source i with the axis, repeated where it has none. */
  readonly full: (i?: number) => Node;
  readonly size: Dim;
}

/** The op with the axis in front of its result. */
export type Batch<O extends Op> = (y: NodeOf<O>, carried: Carried) => Node;

const axis = (dims: readonly Dim[], size: Dim): Dim[] => [size, ...dims];
const behind = (axes: readonly number[]): number[] => axes.map((a) => a + 1);

function carry(node: Node, mapped: ReadonlyMap<Node, Node>, size: Dim): Node {
  const has = node.src.map((s) => mapped.has(s));
  const full = (i = 0): Node => {
    const s = node.src[i] as Node;
    return mapped.get(s) ?? b.expand(b.reshape(s, axis(dimsOf(s), 1)), axis(dimsOf(s), size));
  };
  const x = (i = 0): Node => mapped.get(node.src[i] as Node) ?? (node.src[i] as Node);
  const entry = define<Op>(node.op);
  if (entry.batch) return entry.batch(node, { has, x, full, size });
  if (entry.role === "elementwise")
    return remake(
      currentScope(),
      node,
      node.src.map((_, i) => full(i)),
    );
  switch (node.op) {
    case "reshape":
      return b.reshape(x(), axis(node.attr.dims, size));
    case "permute":
      return b.permute(x(), [0, ...behind(node.attr.axes)]);
    case "expand":
      return b.expand(x(), axis(node.attr.dims, size));
    case "pad":
      return b.pad(x(), [0, ...node.attr.low], [0, ...node.attr.high], node.attr.value);
    case "slice":
      return b.slice(x(), [0, ...node.attr.start], [size, ...node.attr.size], [1, ...node.attr.step]);
    case "flip":
      return b.flip(x(), behind(node.attr.axes));
    case "concat":
      return b.concat(
        node.src.map((_, i) => full(i)),
        node.attr.axis + 1,
      );
    case "reduce":
      return b.reduce(node.attr.kind, x(), behind(node.attr.axes));
    case "dot":
      return carryDot(node, x(0), x(1), has as [boolean, boolean]);
    case "gather":
      return carryGather(node, x(0), x(1), has as [boolean, boolean], size);
    case "scatter":
      return carryScatter(node.attr.axis, { has, x, full, size }, (a, i, u, at) =>
        b.scatter(a, i, u, at, node.attr.mode),
      );
    case "random":
      return carryRandom(node, full(0), (each) => (each ? full(1) : x(1)));
    case "stopGradient":
    case "alias":
      return remake(currentScope(), node, [x()]);
    case "assign":
      return b.assign(full(0), full(1));
    case "call":
      return carryCall(
        node,
        node.src.map((_, i) => (has[i] ? x(i) : (node.src[i] as Node))),
        has,
        size,
      );
    case "tuple":
      return b.build(
        "tuple",
        node.src.map((_, i) => full(i)),
        {},
      );
    case "item":
      return b.item(x(), node.attr.index);
    default:
      throw new VerifyError(`vmap: ${node.op} cannot carry a mapped axis`);
  }
}

/** Both sides mapped: one more batch pair. One side: one more free axis, brought to the front. */
function carryDot(node: NodeOf<"dot">, a: Node, w: Node, [left, right]: readonly [boolean, boolean]): Node {
  const { contract, batch: pairs } = node.attr;
  const shift = (axes: readonly number[], by: boolean) => (by ? behind(axes) : axes);
  const attr = (extra: boolean): Attrs["dot"] => ({
    contract: [shift(contract[0], left), shift(contract[1], right)],
    batch: [
      [...(extra ? [0] : []), ...shift(pairs[0], left)],
      [...(extra ? [0] : []), ...shift(pairs[1], right)],
    ],
  });
  if (left && right) return b.dot(a, w, attr(true));
  const made = b.dot(a, w, attr(false));
  const at = left ? pairs[0].length : pairs[0].length + freeAxes(node)[0].length;
  return b.permute(made, [at, ...dimsOf(made).flatMap((_, i) => (i === at ? [] : [i]))]);
}

/** Positions within one mapped element become positions in all of them laid end to end. */
function offsets(indices: Node, stride: number, size: Dim): Node {
  const each = b.iota(dtypeOf(indices), axis(dimsOf(indices).slice(1), size), 0);
  return b.add(indices, b.mul(each, b.constantLike(each, stride)));
}

/** Outside is outside: where an index leaves its own element it must leave the whole. */
function guarded(indices: Node, stride: number, size: Dim): Node {
  const signed = b.cast(indices, "i32");
  const inside = b.and(b.not(b.lt(signed, b.zerosLike(signed))), b.lt(signed, b.constantLike(signed, stride)));
  return b.where(inside, offsets(signed, stride, size), b.constantLike(signed, -1));
}

function carryGather(
  node: NodeOf<"gather">,
  x: Node,
  indices: Node,
  [data, index]: readonly [boolean, boolean],
  size: Dim,
): Node {
  const at = node.attr.axis;
  if (!index) return b.gather(x, indices, at + 1);
  if (!data) {
    const made = b.gather(x, indices, at);
    return b.permute(made, [at, ...dimsOf(made).flatMap((_, i) => (i === at ? [] : [i]))]);
  }
  // [size, before, n, after] → [before, size · n, after], indexed with offsets
  const stride = known(dimsOf(x)[at + 1] as Dim, "vmap of gather");
  const moved = b.permute(x, [
    ...behind(Array.from({ length: at }, (_, i) => i)),
    0,
    ...dimsOf(x)
      .slice(at + 1)
      .map((_, i) => at + 1 + i),
  ]);
  const dims = dimsOf(moved);
  const flat = b.reshape(moved, [...dims.slice(0, at), known(size, "vmap") * stride, ...dims.slice(at + 2)]);
  const made = b.gather(flat, guarded(indices, stride, size), at);
  return b.permute(made, [at, ...dimsOf(made).flatMap((_, i) => (i === at ? [] : [i]))]);
}

/** An op that writes updates along axis `at` of x. */
export function carryScatter(
  at: number,
  { has, x: source, full, size }: Carried,
  make: (x: Node, indices: Node, updates: Node, axis: number) => Node,
): Node {
  const [x, indices, updates] = [full(0), source(1), full(2)];
  if (has[1] !== true) return make(x, indices, updates, at + 1);
  const stride = known(dimsOf(x)[at + 1] as Dim, "vmap of scatter");
  const before = behind(Array.from({ length: at }, (_, i) => i));
  const toEnd = (n: Node) =>
    b.permute(n, [
      ...before,
      0,
      ...dimsOf(n)
        .slice(at + 1)
        .map((_, i) => at + 1 + i),
    ]);
  const moved = toEnd(x);
  const dims = dimsOf(moved);
  const flat = b.reshape(moved, [...dims.slice(0, at), known(size, "vmap") * stride, ...dims.slice(at + 2)]);
  const made = b.reshape(make(flat, guarded(indices, stride, size), toEnd(updates), at), dims);
  return b.permute(made, [at, ...dims.flatMap((_, i) => (i === at ? [] : [i]))]);
}

/** Each element draws with its own key: they are the keys of one draw. */
function carryRandom({ attr: { dims, words } }: NodeOf<"random">, keys: Node, offset: (full: boolean) => Node): Node {
  const single = dimsOf(offset(false)).length === 0;
  return b.random(keys, offset(!single), dims, words);
}

const made: Memo<Fn> = new WeakMap();

/** The called function mapped once for each choice of mapped arguments; all its results then carry the axis. */
const carryCall = (node: NodeOf<"call">, args: readonly Node[], has: readonly boolean[], size: Dim): Node =>
  b.call(mappedOnce(node.attr.fn, has, size), args);

const mappedOnce = (fn: Fn, has: readonly boolean[], size: Dim): Fn =>
  once(made, fn, `${bits(has)} ${dimText(size)}`, () => {
    const body = mapFn(fn, has, size);
    inherit(fn, body, has, size);
    return body;
  });

/** What is known of a function beside its body holds for the mapped one too. */
function inherit(fn: Fn, body: Fn, has: readonly boolean[], size: Dim): void {
  const saves = rematerialised.get(fn);
  if (saves) rematerialised.set(body, saves);
  const waits = waiting.get(fn);
  if (waits) waiting.set(body, waits);
  const smaller = extended.get(fn);
  if (smaller) extended.set(body, mappedOnce(smaller, has, size));
  const custom = customRules.get(fn);
  if (!custom) return;
  const forward = custom.forward && mapFn(custom.forward, has, size);
  if (forward) extended.set(forward, body);
  const { rule } = custom;
  const mapped = mapFn(rule, [...has, ...rule.params.slice(has.length).map(() => true)], size);
  // An argument that all examples share gets the sum of their gradients.
  const shared = within((mapped.results[0] as Node).scope, () =>
    mapped.results.map((r, i) => (has[i] ? r : b.reduce("sum", r, [0]))),
  );
  customRules.set(body, { rule: makeFn(mapped.name, mapped.params, shared), forward });
}

/** The function over arguments of which those marked carry an axis of `size` in front; so do all its results, but for those marked
 *  in `plain` that do not depend on them. */
export function mapFn(fn: Fn, has: readonly boolean[], size: Dim, plainResults: readonly boolean[] = []): Fn {
  const scope = newScope();
  return within(scope, () => {
    const params = fn.params.map((p, index) =>
      scope.make("param", [], { index, name: p.attr.name, type: has[index] ? lifted(p.type, size) : p.type }),
    );
    const plain = new Map<Node, Node>();
    const batched = new Map<Node, Node>();
    // The unmapped body in this scope too, for what does not depend on mapped arguments; unused parts of it fall away.
    for (const n of topological(fn.results)) {
      const own =
        n.op === "param"
          ? scope.make("param", [], { index: fn.params.length + n.attr.index, name: "", type: n.type })
          : remake(
              scope,
              n,
              n.src.map((s) => plain.get(s) as Node),
            );
      plain.set(n, (n.op === "param" && !has[n.attr.index] ? params[n.attr.index] : own) as Node);
      if (n.op === "param" && has[n.attr.index]) batched.set(own, params[n.attr.index] as Node);
    }
    const results = batch(
      fn.results.map((r) => plain.get(r) as Node),
      batched,
      size,
    ).map(({ node, mapped }, i) =>
      mapped || plainResults[i] ? node : b.expand(b.reshape(node, axis(dimsOf(node), 1)), axis(dimsOf(node), size)),
    );
    return makeFn(`${fn.name}.mapped`, params, results);
  });
}

function lifted(type: Type, size: Dim): TensorType {
  if (isTuple(type)) throw new VerifyError("vmap: a parameter that is a tuple cannot carry a mapped axis");
  return tensorType(type.dtype, axis(type.dims, size));
}
