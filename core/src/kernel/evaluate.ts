/** The meaning of the loop level: runs a kernel one scalar at a time, each op rounded to its dtype. Lowering and schedules are
 *  tested with it, without any machine code. Buffers hold doubles, or BigInts for i64. */
import { VerifyError } from "../errors.ts";
import { identityOf } from "../interpreter/contraction.ts";
import { known } from "../ir/dim.ts";
import { elementwise } from "../interpreter/elementwise.ts";
import { type Data, newData, type Value } from "../interpreter/value.ts";
import { type DType, roundTo } from "../ir/dtype.ts";
import { type Fn, topological } from "../ir/fn.ts";
import { dtypeOf, type Node, type Op, type ReduceKind, tensorTypeOf } from "../ir/node.ts";
import { define } from "../ops/table.ts";
import {
  type AccumulateNode,
  bodyOf,
  type Item,
  itemsOf,
  type NestNode,
  type RangeNode,
  rangeOfLoop,
  type StoreNode,
  storesOf,
} from "./nests.ts";

/** Runs the kernel.
 *  @param inputs one for each input buffer, in the order of the kernel's parameters
 *  @param scalars the host scalars, in order
 *  @returns the output buffers
 *  @throws VerifyError if an access lies outside of its buffer and no mask forbids it */
export function evaluateKernel(kernel: Fn, inputs: readonly Data[], scalars: readonly number[] = []): Data[] {
  const memory = new Map<Node, Data>();
  const values: Env = new Map();
  const outputs: Data[] = [];
  let scalar = 0;
  kernel.params.forEach((p, i) => {
    const { dims, space, dtype } = tensorTypeOf(p);
    if (space === "host" && dims.length === 0) values.set(p, element(dtype, scalars[scalar++] as number));
    else if (i < inputs.length) memory.set(p, held(dtype, inputs[i] as Data));
    else {
      const out = unwritten(dtype, known(dims[0] ?? 1, kernel.name));
      outputs.push(out);
      memory.set(p, out);
    }
  });
  for (const n of topological(kernel.results))
    if (n.op === "scratch") memory.set(n, unwritten(n.attr.type.dtype, known(n.attr.type.dims[0] ?? 1, "scratch")));
  const run = (item: Item): void => {
    if (item.op === "nest") return runNest(item, memory, values);
    const limit = item.src[1] as Node;
    const range = rangeOfLoop(item);
    const body = bodyOf(item);
    const atMost = indexOf(limit, memory, values);
    for (let i = 0; i < atMost; i++) {
      // The order of a parallel loop's iterations is nobody's.
      values.set(range, item.attr.kind === "parallel" ? atMost - 1 - i : i);
      body.forEach(run);
    }
    values.delete(range);
  };
  itemsOf(kernel).forEach(run);
  return outputs;
}

/** A limit of a loop, from the ranges further out and from memory. */
function indexOf(limit: Node, memory: ReadonlyMap<Node, Data>, ranges: Env): number {
  const known = new Map(ranges);
  for (const n of topological([limit]))
    if (!known.has(n) && !memory.has(n)) {
      const x = n.src.map((s) => known.get(s) as Scalar);
      const at = Number(x[1]);
      if (n.op === "load") known.set(n, checked(memory, n.src[0] as Node, at)[at] as Scalar);
      else known.set(n, n.op === "const" ? n.attr.value : scalarOp(n, x));
    }
  return Number(known.get(limit));
}

/** BigInt for i64, a number for any other dtype. */
type Scalar = number | bigint;
type Env = Map<Node, Scalar>;

const element = (dtype: DType, x: number): Scalar =>
  dtype === "i64" ? BigInt.asIntN(64, BigInt(roundTo(dtype, x))) : roundTo(dtype, x);

const held = (dtype: DType, data: Data): Data =>
  dtype === "i64" && data instanceof Float64Array ? BigInt64Array.from(data, BigInt) : data;

function unwritten(dtype: DType, count: number): Data {
  const data = newData(dtype, count);
  return data instanceof Float64Array ? data.fill(Number.NaN) : data;
}

function runNest(nest: NestNode, memory: ReadonlyMap<Node, Data>, scalars: Env): void {
  const env: Env = new Map(scalars);
  const order = topological(nest.src);
  const depends = dependences(order);
  const inner = new Set(order.flatMap((n) => (n.op === "accumulate" ? n.src.slice(1) : [])));
  const byId = new Map(order.filter((n): n is RangeNode => n.op === "range").map((n) => [n.attr.id, n]));
  const loops = nest.attr.order
    .map((id) => byId.get(id))
    .filter((r): r is RangeNode => r !== undefined && !inner.has(r));
  const listed = new Set(nest.attr.order);
  for (const [id, r] of byId)
    if (!listed.has(id) && r.attr.kind !== "outer")
      throw new VerifyError(`nest: range ${id} is used but not in the order [${nest.attr.order.join(", ")}]`);
  const outside = order.filter(
    (n) => ![...(depends.get(n) as Set<Node>)].some((r) => inner.has(r)) && n.op !== "store" && n.op !== "range",
  );

  const compute = (nodes: readonly Node[]): void => {
    for (const n of nodes) env.set(n, valueOf(n));
  };
  const valueOf = (n: Node): Scalar => {
    if (n.op === "accumulate") return accumulate(n);
    if (n.op === "load") return load(n);
    if (n.op === "const") return n.attr.dtype === "i64" ? element("i64", n.attr.value) : n.attr.value;
    if (n.op === "param" || n.op === "scratch") return env.get(n) ?? 0;
    return scalarOp(
      n,
      n.src.map((s) => env.get(s) as Scalar),
    );
  };
  const bodies = new Map<Node, readonly Node[]>();
  const bodyOf = (n: AccumulateNode): readonly Node[] => {
    const done = bodies.get(n);
    if (done) return done;
    const own = n.src.slice(1);
    const below = topological([n.src[0] as Node]);
    // What an accumulate further in makes anew belongs to that one.
    const further = below.flatMap((m) => (m.op === "accumulate" ? m.src.slice(1) : []));
    const reachesOne = (m: Node, ranges: readonly Node[]): boolean =>
      ranges.some((r) => (depends.get(m) as Set<Node>).has(r));
    const body = below.filter((m) => m.op !== "range" && reachesOne(m, own) && !reachesOne(m, further));
    bodies.set(n, body);
    return body;
  };
  const accumulate = (n: AccumulateNode): Scalar => {
    const ranges = n.src.slice(1) as RangeNode[];
    const dtype = dtypeOf(n);
    const side = ranges.filter((r) => r.attr.kind === "unroll" || r.attr.kind === "vector");
    const identity = identityOf(n.attr.kind, dtype);
    const partials = new Array<Scalar>(side.reduce((c, r) => c * r.attr.extent, 1)).fill(
      dtype === "i64" ? BigInt.asIntN(64, BigInt(identity) - (identity >= 2 ** 63 ? 1n : 0n)) : identity,
    );
    const body = bodyOf(n);
    const loop = (depth: number, part: number): void => {
      const r = ranges[depth];
      if (!r) {
        compute(body);
        partials[part] = combine(n.attr.kind, partials[part] as Scalar, env.get(n.src[0] as Node) as Scalar, dtype);
        return;
      }
      for (let i = 0; i < r.attr.extent; i++) {
        env.set(r, i);
        loop(depth + 1, side.includes(r) ? part * r.attr.extent + i : part);
      }
    };
    loop(0, 0);
    return combineHalves(n.attr.kind, partials, dtype);
  };
  const load = (n: Node): Scalar => {
    const [buffer, index, mask] = n.src as [Node, Node, Node | undefined];
    if (mask && env.get(mask) === 0) return element(dtypeOf(n), 0);
    const at = env.get(index) as number;
    return checked(memory, buffer, at)[at] as Scalar;
  };
  const store = (n: StoreNode): void => {
    const [buffer, index, value, mask] = n.src as [Node, Node, Node, Node | undefined];
    if (mask && env.get(mask) === 0) return;
    const at = env.get(index) as number;
    checked(memory, buffer, at)[at] = env.get(value) as never;
  };
  const loop = (depth: number): void => {
    const r = loops[depth];
    if (!r) {
      compute(outside);
      for (const s of storesOf(nest)) store(s);
      return;
    }
    for (let i = 0; i < r.attr.extent; i++) {
      env.set(r, i);
      loop(depth + 1);
    }
  };
  loop(0);
}

/** The ranges on which each node's value depends; those of an accumulate end there. */
function dependences(order: readonly Node[]): Map<Node, Set<Node>> {
  const depends = new Map<Node, Set<Node>>();
  for (const n of order) {
    const all = new Set(n.op === "range" ? [n] : n.src.flatMap((s) => [...(depends.get(s) as Set<Node>)]));
    if (n.op === "accumulate") for (const r of n.src.slice(1)) all.delete(r);
    depends.set(n, all);
  }
  return depends;
}

function checked(memory: ReadonlyMap<Node, Data>, buffer: Node, index: number): Data {
  const data = memory.get(buffer);
  if (data && Number.isInteger(index) && index >= 0 && index < data.length) return data;
  throw new VerifyError(`kernel: index ${index} lies outside of a buffer of ${data?.length ?? "no"} elements`);
}

/** Partial results p = 0 … n−1 become one: while there are several, p takes p + ⌈n/2⌉ to itself. */
function combineHalves(kind: ReduceKind, partials: readonly Scalar[], dtype: DType): Scalar {
  let left = [...partials];
  while (left.length > 1) {
    const half = Math.ceil(left.length / 2);
    const { length } = left;
    left = left
      .slice(0, half)
      .map((x, p) => (p + half < length ? combine(kind, x, left[p + half] as Scalar, dtype) : x));
  }
  return left[0] as Scalar;
}

const combiner = { sum: "add", prod: "mul", max: "max", min: "min" } as const satisfies Record<ReduceKind, string>;

function combine(kind: ReduceKind, a: Scalar, b: Scalar, dtype: DType): Scalar {
  const op = combiner[kind];
  const entry = define(op);
  if (typeof a !== "number" || typeof b !== "number") return ofOne(op, [a, b], [dtype, dtype], dtype);
  return roundTo(dtype, entry.role === "elementwise" ? entry.scalar([a, b], dtype, dtype) : Number.NaN);
}

function scalarOp(n: Node, x: readonly Scalar[]): Scalar {
  const dtype = dtypeOf(n);
  const numbers = x.filter((v) => typeof v === "number");
  if (n.op === "bitcast" || dtype === "i64" || numbers.length < x.length)
    return ofOne(n.op, x, n.src.map(dtypeOf), dtype);
  const entry = define(n.op);
  if (entry.role !== "elementwise") throw new VerifyError(`kernel: ${n.op} is not an op of the loop level`);
  return roundTo(dtype, entry.scalar(numbers, dtypeOf(n.src.at(-1) as Node), dtype));
}

/** The tensor level's meaning, of tensors of one element. */
function ofOne(op: Op, x: readonly Scalar[], from: readonly DType[], to: DType): Scalar {
  const src = x.map((v, i): Value => {
    const dtype = from[i] as DType;
    return { dtype, dims: [], data: typeof v === "bigint" ? BigInt64Array.of(v) : Float64Array.of(v) };
  });
  return elementwise(op, src, to, false).data[0] as Scalar;
}
