/** The interpreter: the meaning of a tensor-level function, computed one node at a time in doubles and rounded to each
 *  node's dtype. Everything faster is judged against it. */
import { ArgumentError, ShapeError, VerifyError } from "../errors.ts";
import { type Dim } from "../ir/dim.ts";
import { bindDim } from "../ir/symbol.ts";
import { type Fn, nodesOf } from "../ir/fn.ts";
import { dtypeOf, type Node, type NodeOf, type Op, tensorTypeOf } from "../ir/node.ts";
import { type Type, typeText } from "../ir/type.ts";
import { define } from "../ops/table.ts";
import { dot, gather, reduce, scatter } from "./contraction.ts";
import { elementwise } from "./elementwise.ts";
import { permuted } from "./layout.ts";
import { concat, expand, filled, flip, iota, pad, slice } from "./movement.ts";
import { randomBits } from "./random.ts";
import { doubles, sizeOfDims, type Value } from "./value.ts";

export interface EvaluateOptions {
  /** Leave floats unrounded, whatever their dtype: for derivative checks. */
  readonly exact?: boolean;
}

/** The results of `fn` for `args`, in order; a result that is a tuple gives its parts. Symbolic dims take the sizes of the
 *  arguments.
 *  @throws ArgumentError for a wrong number of arguments; ShapeError for dims or dtypes that are not the parameters';
 *  VerifyError for an op of the kernel level */
export function evaluate(fn: Fn, args: readonly Value[], { exact = false }: EvaluateOptions = {}): Value[] {
  return leaves(run(fn, args, exact));
}

/** The meaning of an op: its value from those of its sources. Floats are left unrounded where it is to be exact. */
export type Evaluate<O extends Op> = (y: NodeOf<O>, src: readonly Value[], exact: boolean) => Value | readonly Value[];

/** What a node computes: a tensor, or the parts of a tuple. */
type Computed = Value | readonly Computed[];
const isList = (v: Computed): v is readonly Computed[] => Array.isArray(v);
const leaves = (v: Computed): Value[] => (isList(v) ? v.flatMap(leaves) : [v]);

function run(fn: Fn, args: readonly Value[], exact: boolean): Computed[] {
  if (args.length !== fn.params.length)
    throw new ArgumentError(`evaluate ${fn.name}: expected ${fn.params.length} arguments, got ${args.length}`);
  const symbols = bindSymbols(fn, args);
  const values = new Map<Node, Computed>();
  fn.params.forEach((p, i) => values.set(p, args[i] as Value));
  const order = nodesOf(fn);
  const uses = new Map<Node, number>();
  const count = (n: Node) => uses.set(n, (uses.get(n) ?? 0) + 1);
  for (const n of order) n.src.forEach(count);
  fn.results.forEach(count);
  const frame: Frame = { exact, at: (n) => values.get(n) as Computed, dims: (d) => d.map((x) => bindDim(x, symbols)) };
  for (const n of order) {
    if (!values.has(n)) values.set(n, compute(n, frame));
    // A value that nothing later reads is dropped, so a long chain needs the memory of its widest point only.
    for (const s of n.src) {
      const left = (uses.get(s) as number) - 1;
      uses.set(s, left);
      if (left === 0) values.delete(s);
    }
  }
  return fn.results.map((r) => values.get(r) as Computed);
}

interface Frame {
  readonly exact: boolean;
  readonly at: (n: Node) => Computed;
  readonly dims: (dims: readonly Dim[]) => number[];
}

function single(v: Computed): Value {
  if (isList(v)) throw new VerifyError("evaluate: expected a tensor, got a tuple", { hint: "project it with item" });
  return v;
}

function compute(n: Node, { exact, at, dims }: Frame): Computed {
  const src = (i: number): Value => single(at(n.src[i] as Node));
  const all = (): Value[] => n.src.map((s) => single(at(s)));
  switch (n.op) {
    case "const":
      return { dtype: n.attr.dtype, dims: [], data: filled(n.attr.dtype, 1, n.attr.value, exact) };
    case "param":
      throw new VerifyError(`evaluate: ${n.attr.name} is a parameter of another function`);
    case "iota": {
      const shape = dims(n.attr.dims);
      const counted: Value = { dtype: "i32", dims: shape, data: iota(shape, n.attr.axis) };
      return elementwise("cast", [counted], n.attr.dtype, exact);
    }
    case "random": {
      const [keys, offsets] = [doubles(src(0)), doubles(src(1))];
      const { words } = n.attr;
      const shape = dims(tensorTypeOf(n).dims);
      const count = sizeOfDims(dims(n.attr.dims));
      const data = new Float64Array(sizeOfDims(shape));
      for (let i = 0; 2 * i < keys.length; i++) {
        const key = [keys[2 * i] as number, keys[2 * i + 1] as number] as const;
        const offset = offsets[offsets.length === 1 ? 0 : i] as number;
        data.set(randomBits(key, offset, count, words), i * count * words);
      }
      return { dtype: "u32", dims: shape, data };
    }
    case "reshape":
      return { ...src(0), dims: dims(n.attr.dims) };
    case "permute":
      return permuted(src(0), n.attr.axes);
    case "expand":
      return expand(src(0), dims(n.attr.dims));
    case "pad":
      return pad(src(0), dims(n.attr.low), dims(tensorTypeOf(n).dims), n.attr.value, exact);
    case "slice":
      return slice(src(0), dims(n.attr.start), dims(n.attr.size), n.attr.step);
    case "flip":
      return flip(src(0), n.attr.axes);
    case "concat":
      return concat(all(), n.attr.axis, dims(tensorTypeOf(n).dims));
    case "reduce":
      return reduce(src(0), n.attr, exact);
    case "dot":
      return dot(src(0), src(1), n.attr, exact);
    case "gather":
      return gather(src(0), src(1), n.attr.axis);
    case "scatter":
      return scatter(src(0), src(1), src(2), n.attr, exact);
    case "stopGradient":
    case "alias":
      return src(0);
    case "assign":
      return src(1);
    case "tuple":
      return n.src.map(at);
    case "item":
      return (at(n.src[0] as Node) as readonly Computed[])[n.attr.index] as Computed;
    case "call":
      return run(n.attr.fn, all(), exact);
    default: {
      const entry = define<Op>(n.op);
      if (entry.evaluate) return entry.evaluate(n, all(), exact);
      if (entry.role !== "elementwise") throw new VerifyError(`evaluate: ${n.op} is not an op of the tensor level`);
      return elementwise(n.op, all(), dtypeOf(n), exact);
    }
  }
}

/** The symbols' values, from the sizes of the arguments; every dim of every parameter must then agree. */
function bindSymbols(fn: Fn, args: readonly Value[]): Map<string, number> {
  const values = new Map<string, number>();
  const dimsOf = (type: Type): readonly Dim[] => ("tuple" in type ? [] : type.dims);
  fn.params.forEach((p, i) => {
    dimsOf(p.type).forEach((d, axis) => {
      const name =
        typeof d === "object" && d.terms.length === 1 && d.terms[0]?.factors.length === 1
          ? d.terms[0].factors[0]?.name
          : undefined;
      const size = args[i]?.dims[axis];
      if (typeof d === "object" && name !== undefined && size !== undefined && !values.has(name))
        values.set(name, size / (d.terms[0]?.coefficient ?? 1));
    });
  });
  fn.params.forEach((p, i) => {
    const arg = args[i] as Value;
    const want = tensorTypeOf(p);
    const sizes = want.dims.map((d) => bindDim(d, values));
    if (arg.dtype !== want.dtype || sizes.length !== arg.dims.length || sizes.some((s, a) => s !== arg.dims[a]))
      throw new ShapeError(
        `evaluate ${fn.name}: argument ${i} (${p.attr.name}) should be ${typeText(want)}, got ${arg.dtype}[${arg.dims.join(", ")}]`,
      );
  });
  return values;
}
