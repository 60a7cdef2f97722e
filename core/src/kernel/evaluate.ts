/** The meaning of the loop level: runs a kernel one scalar at a time, each op rounded to its dtype. Lowering and schedules are
 *  tested with it, without any machine code. Buffers hold doubles, whatever their dtype. */
import { VerifyError } from "../errors.ts";
import { identityOf } from "../interpreter/contraction.ts";
import { known } from "../ir/dim.ts";
import { type DType, fromBf16, fromF16, isFloat, roundTo, toBf16, toF16 } from "../ir/dtype.ts";
import { type Fn, topological } from "../ir/fn.ts";
import { dtypeOf, type Node, type ReduceKind, tensorTypeOf } from "../ir/node.ts";
import { define } from "../ops/table.ts";
import { type AccumulateNode, type NestNode, nestsOf, type RangeNode, type StoreNode, storesOf } from "./nests.ts";

/** Runs the kernel.
 *  @param inputs one for each input buffer, in the order of the kernel's parameters
 *  @param scalars the host scalars, in order
 *  @returns the output buffers
 *  @throws VerifyError if an access lies outside of its buffer and no mask forbids it */
export function evaluateKernel(
  kernel: Fn,
  inputs: readonly Float64Array[],
  scalars: readonly number[] = [],
): Float64Array[] {
  const memory = new Map<Node, Float64Array>();
  const values = new Map<Node, number>();
  const outputs: Float64Array[] = [];
  let scalar = 0;
  kernel.params.forEach((p, i) => {
    const { dims, space, dtype } = tensorTypeOf(p);
    if (space === "host" && dims.length === 0) values.set(p, roundTo(dtype, scalars[scalar++] as number));
    else if (i < inputs.length) memory.set(p, inputs[i] as Float64Array);
    else {
      const out = new Float64Array(known(dims[0] ?? 1, kernel.name)).fill(Number.NaN);
      outputs.push(out);
      memory.set(p, out);
    }
  });
  for (const n of topological(kernel.results))
    if (n.op === "scratch")
      memory.set(n, new Float64Array(known(n.attr.type.dims[0] ?? 1, "scratch")).fill(Number.NaN));
  for (const nest of nestsOf(kernel)) runNest(nest, memory, values);
  return outputs;
}

type Env = Map<Node, number>;

function runNest(nest: NestNode, memory: ReadonlyMap<Node, Float64Array>, scalars: ReadonlyMap<Node, number>): void {
  const env: Env = new Map(scalars);
  const order = topological(nest.src);
  const depends = dependences(order);
  const inner = new Set(order.flatMap((n) => (n.op === "accumulate" ? n.src.slice(1) : [])));
  const byId = new Map(order.filter((n): n is RangeNode => n.op === "range").map((n) => [n.attr.id, n]));
  const loops = nest.attr.order
    .map((id) => byId.get(id))
    .filter((r): r is RangeNode => r !== undefined && !inner.has(r));
  const listed = new Set(nest.attr.order);
  for (const id of byId.keys())
    if (!listed.has(id))
      throw new VerifyError(`nest: range ${id} is used but not in the order [${nest.attr.order.join(", ")}]`);
  const outside = order.filter(
    (n) => ![...(depends.get(n) as Set<Node>)].some((r) => inner.has(r)) && n.op !== "store" && n.op !== "range",
  );

  const compute = (nodes: readonly Node[]): void => {
    for (const n of nodes) env.set(n, valueOf(n));
  };
  const valueOf = (n: Node): number => {
    if (n.op === "accumulate") return accumulate(n);
    if (n.op === "load") return load(n);
    if (n.op === "const") return n.attr.value;
    if (n.op === "param" || n.op === "scratch") return env.get(n) ?? 0;
    return scalarOp(
      n,
      n.src.map((s) => env.get(s) as number),
    );
  };
  const bodies = new Map<Node, readonly Node[]>();
  const bodyOf = (n: AccumulateNode): readonly Node[] => {
    const done = bodies.get(n);
    if (done) return done;
    const own = n.src.slice(1);
    const body = topological([n.src[0] as Node]).filter(
      (m) => m.op !== "range" && own.some((r) => (depends.get(m) as Set<Node>).has(r)),
    );
    bodies.set(n, body);
    return body;
  };
  const accumulate = (n: AccumulateNode): number => {
    const ranges = n.src.slice(1) as RangeNode[];
    const dtype = dtypeOf(n);
    const side = ranges.filter((r) => r.attr.kind === "unroll" || r.attr.kind === "vector");
    const partials = new Array<number>(side.reduce((c, r) => c * r.attr.extent, 1)).fill(
      identityOf(n.attr.kind, dtype),
    );
    const body = bodyOf(n);
    const loop = (depth: number, part: number): void => {
      const r = ranges[depth];
      if (!r) {
        compute(body);
        partials[part] = combine(n.attr.kind, partials[part] as number, env.get(n.src[0] as Node) as number, dtype);
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
  const load = (n: Node): number => {
    const [buffer, index, mask] = n.src as [Node, Node, Node | undefined];
    return mask && env.get(mask) === 0
      ? 0
      : (checked(memory, buffer, env.get(index) as number)[env.get(index) as number] as number);
  };
  const store = (n: StoreNode): void => {
    const [buffer, index, value, mask] = n.src as [Node, Node, Node, Node | undefined];
    if (mask && env.get(mask) === 0) return;
    checked(memory, buffer, env.get(index) as number)[env.get(index) as number] = env.get(value) as number;
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

function checked(memory: ReadonlyMap<Node, Float64Array>, buffer: Node, index: number): Float64Array {
  const data = memory.get(buffer);
  if (data && Number.isInteger(index) && index >= 0 && index < data.length) return data;
  throw new VerifyError(`kernel: index ${index} lies outside of a buffer of ${data?.length ?? "no"} elements`);
}

/** Partial results p = 0 … n−1 become one: while there are several, p takes p + ⌈n/2⌉ to itself. */
function combineHalves(kind: ReduceKind, partials: readonly number[], dtype: DType): number {
  let left = [...partials];
  while (left.length > 1) {
    const half = Math.ceil(left.length / 2);
    const { length } = left;
    left = left
      .slice(0, half)
      .map((x, p) => (p + half < length ? combine(kind, x, left[p + half] as number, dtype) : x));
  }
  return left[0] as number;
}

const combiner = { sum: "add", prod: "mul", max: "max", min: "min" } as const satisfies Record<ReduceKind, string>;

function combine(kind: ReduceKind, a: number, b: number, dtype: DType): number {
  const entry = define(combiner[kind]);
  return roundTo(dtype, entry.role === "elementwise" ? entry.scalar([a, b], dtype, dtype) : Number.NaN);
}

function scalarOp(n: Node, x: readonly number[]): number {
  const dtype = dtypeOf(n);
  if (n.op === "bitcast") return fromBits(dtype, toBits(dtypeOf(n.src[0] as Node), x[0] as number));
  const entry = define(n.op);
  if (entry.role !== "elementwise") throw new VerifyError(`kernel: ${n.op} is not an op of the loop level`);
  return roundTo(dtype, entry.scalar(x, dtypeOf(n.src.at(-1) as Node), dtype));
}

const view = new DataView(new ArrayBuffer(8));

function toBits(dtype: DType, x: number): number {
  if (dtype === "f16") return toF16(x);
  if (dtype === "bf16") return toBf16(x);
  if (!isFloat(dtype)) return x >>> 0;
  view.setFloat32(0, x);
  return view.getUint32(0);
}

function fromBits(dtype: DType, bits: number): number {
  if (dtype === "f16") return fromF16(bits);
  if (dtype === "bf16") return fromBf16(bits);
  if (!isFloat(dtype)) return roundTo(dtype, bits);
  view.setUint32(0, bits);
  return view.getFloat32(0);
}
