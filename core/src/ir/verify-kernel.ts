/** The structure of a kernel: one `kernel` of `nest`s of `store`s over flat buffers; ranges that their nest orders and that
 *  are either walked by it or bound by an accumulate; storage dtypes at loads, stores and casts alone. */
import { carrierOf, type DType, dtypes } from "./dtype.ts";
import type { Fn } from "./fn.ts";
import { isHost, type Node, type NodeOf, type RangeKind } from "./node.ts";
import { isTuple, typeText } from "./type.ts";
import type { Blame } from "./verify.ts";

export function verifyKernel(fn: Fn, all: readonly Node[], blame: Blame): void {
  const [kernel] = fn.results;
  if (fn.results.length !== 1 || kernel?.op !== "kernel")
    return blame(kernel ?? (all[0] as Node), "the single result of a kernel is a kernel node");
  for (const n of all) checkNode(n, blame);
  const scratch = new Map<number, Node>();
  for (const n of all) {
    if (n.op !== "scratch") continue;
    if ((scratch.get(n.attr.id) ?? n) !== n) blame(n, `two scratch buffers have the id ${n.attr.id}`);
    scratch.set(n.attr.id, n);
  }
  const free = freeRanges(all, blame);
  const walk = (items: readonly Node[], around: Ranges): void => {
    for (const item of items)
      if (item.op === "nest") checkNest(item, free, around, blame);
      else if (item.op === "loop") walk(item.src.slice(2), checkLoop(item, free, around, blame));
  };
  walk(kernel.src, new Set());
}

/** What may be used inside of the loop: its range, and those around it. */
function checkLoop(loop: NodeOf<"loop">, free: ReadonlyMap<Node, Ranges>, around: Ranges, blame: Blame): Ranges {
  const [range, limit] = loop.src as readonly [Node, Node];
  if (range.op !== "range" || range.attr.kind !== "outer")
    return blame(loop, `expected an outer range, got ${range.op}`);
  if (!isScalar(limit, "i32")) blame(loop, `its limit should be i32[], not ${typeText(limit.type)}`);
  if (loop.attr.kind === "parallel" && (limit.op !== "const" || limit.attr.value !== range.attr.extent))
    blame(loop, `the limit of a parallel loop is its range's extent, ${range.attr.extent}`);
  const stray = [...(free.get(limit) as Ranges)].find((r) => !around.has(r));
  if (stray) blame(loop, `its limit uses range ${stray.attr.id}, which is not one around it`);
  if (around.has(range)) blame(loop, `range ${range.attr.id} is walked by a loop around it`);
  return new Set([...around, range]);
}

const isBuffer = (n: Node): boolean => n.op === "scratch" || (n.op === "param" && !isHost(n));

function isScalar(n: Node | undefined, dtype?: string): boolean {
  return (
    n !== undefined &&
    !isTuple(n.type) &&
    n.type.dims.length === 0 &&
    !isBuffer(n) &&
    (dtype === undefined || n.type.dtype === dtype)
  );
}

/** The ops whose sources are structure rather than scalars, and what each may be. */
const structure = { kernel: ["nest", "loop"], loop: ["nest", "loop"], nest: ["store"] } as const;

function checkNode(n: Node, blame: Blame): void {
  switch (n.op) {
    case "param":
    case "scratch":
      return checkBuffer(n, blame);
    case "kernel":
    case "loop":
    case "nest": {
      const allowed: readonly string[] = structure[n.op];
      for (const s of n.op === "loop" ? n.src.slice(2) : n.src)
        if (!allowed.includes(s.op)) blame(n, `its sources should be ${allowed.join("s or ")}s, not ${s.op}`);
      return;
    }
    case "load":
      return checkAccess(n, n.src[2], blame);
    case "store":
      if (!isScalar(n.src[2])) blame(n, `its value should be a scalar, not ${typeText((n.src[2] as Node).type)}`);
      return checkAccess(n, n.src[3], blame);
    case "accumulate":
      return checkAccumulate(n, blame);
    default:
      return checkScalars(n, blame);
  }
}

function checkBuffer(n: NodeOf<"param"> | NodeOf<"scratch">, blame: Blame): void {
  if (isTuple(n.type)) return blame(n, "a tuple is no buffer");
  const { dims, space } = n.type;
  if (space === "host" ? dims.length !== 0 : space === "disk" || dims.length !== 1 || typeof dims[0] !== "number")
    blame(n, "expected a flat buffer like f32[1024], or a scalar in host space");
}

function checkAccess(n: Node, mask: Node | undefined, blame: Blame): void {
  const [buffer, index] = n.src as readonly [Node, Node];
  if (!isBuffer(buffer)) blame(n, `expected a buffer, got ${buffer.op}`);
  if (!isScalar(index, "i32")) blame(n, `its index should be i32[], not ${typeText(index.type)}`);
  if (mask && !isScalar(mask, "bool")) blame(n, `its mask should be bool[], not ${typeText(mask.type)}`);
}

function checkAccumulate(n: NodeOf<"accumulate">, blame: Blame): void {
  const [value, ...ranges] = n.src as readonly [Node, ...Node[]];
  if (!isScalar(value)) blame(n, `it combines scalars, not ${typeText(value.type)}`);
  if (ranges.length === 0 || new Set(ranges).size !== ranges.length)
    blame(n, "expected distinct ranges after its value");
  for (const r of ranges) {
    if (r.op !== "range") return blame(n, `expected ranges after its value, got ${r.op}`);
    if (r.attr.kind === "loop" || r.attr.kind === "parallel" || r.attr.kind === "outer")
      blame(n, `a ${r.attr.kind} range cannot be accumulated over`);
  }
}

/** Element-wise ops, constants and ranges: scalars of dtypes in which kernels compute; narrow ones are only cast. */
function checkScalars(n: Node, blame: Blame): void {
  if (isTuple(n.type) || n.type.dims.length !== 0) return blame(n, "values of a kernel are scalars");
  for (const s of n.src) if (!isScalar(s)) blame(n, `${s.op} ${typeText(s.type)} is not a scalar here`);
  const storage =
    n.op !== "cast" && n.op !== "bitcast" && [n, ...n.src].some((s) => !isTuple(s.type) && !isComputed(s.type.dtype));
  if (storage) blame(n, "a narrow dtype is only loaded, stored and cast: compute in its carrier");
}

const isComputed = (dtype: DType): boolean => dtypes[dtype].role === "full" && carrierOf(dtype) === dtype;

type Ranges = ReadonlySet<NodeOf<"range">>;

/** For every node the ranges that it depends on and that no accumulate has bound. */
function freeRanges(all: readonly Node[], blame: Blame): Map<Node, Ranges> {
  const free = new Map<Node, Ranges>();
  for (const n of all) {
    if (n.op === "range") free.set(n, new Set([n]));
    else if (n.op === "accumulate") {
      const [value, ...bound] = n.src as readonly [Node, ...NodeOf<"range">[]];
      const inner = free.get(value) as Ranges;
      const rest = new Set([...inner].filter((r) => !bound.includes(r)));
      const stray = [...rest].find((r) => r.attr.kind === "reduce");
      if (stray && !nestedLater(n, stray, all)) blame(n, `the reduce range ${stray.attr.id} of its value is not bound`);
      free.set(n, rest);
    } else free.set(n, union(n.src.map((s) => free.get(s) as Ranges)));
  }
  return free;
}

/** Whether an accumulate further out binds the range. */
const nestedLater = (n: Node, range: NodeOf<"range">, all: readonly Node[]): boolean =>
  all.some((m) => m.op === "accumulate" && m !== n && m.src.includes(range));

function union(sets: readonly Ranges[]): Ranges {
  const largest = sets.reduce<Ranges | undefined>((a, b) => (a && a.size >= b.size ? a : b), undefined) ?? new Set();
  if (sets.every((s) => s === largest || [...s].every((r) => largest.has(r)))) return largest;
  return new Set(sets.flatMap((s) => [...s]));
}

function checkNest(nest: NodeOf<"nest">, free: ReadonlyMap<Node, Ranges>, around: Ranges, blame: Blame): void {
  const { order } = nest.attr;
  const walked = union(nest.src.map((s) => free.get(s) as Ranges));
  const ranges = new Map<number, NodeOf<"range">>();
  const bound = new Set<NodeOf<"range">>();
  const seen = new Set<Node>();
  const stack: Node[] = [...nest.src];
  for (let n = stack.pop(); n; n = stack.pop()) {
    if (seen.has(n)) continue;
    seen.add(n);
    stack.push(...n.src);
    if (n.op === "accumulate") for (const r of n.src.slice(1)) bound.add(r as NodeOf<"range">);
    if (n.op !== "range") continue;
    if (n.attr.kind === "outer") {
      if (!around.has(n)) blame(n, "it is used outside of its loop");
      continue;
    }
    if (ranges.has(n.attr.id)) blame(n, `two ranges of one nest have the id ${n.attr.id}`);
    ranges.set(n.attr.id, n);
    if (!order.includes(n.attr.id)) blame(n, `its nest orders ${order.join(", ") || "nothing"}, not this range`);
  }
  if (new Set(order).size !== order.length) blame(nest, "a range stands twice in the order");
  const missing = order.find((id) => !ranges.has(id));
  if (missing !== undefined) blame(nest, `no store of it depends on range ${missing} of its order`);
  const own = new Set([...walked].filter((r) => r.attr.kind !== "outer"));
  for (const r of own) {
    if (r.attr.kind === "reduce") blame(r, "a reduce range is walked only inside an accumulate");
    if (bound.has(r)) blame(r, "it is accumulated over, and used outside of that too");
  }
  checkVectors(nest, ranges, own, blame);
}

/** One vector range at most, and no output range inside it; parallel ranges are neighbours. */
function checkVectors(
  nest: NodeOf<"nest">,
  ranges: ReadonlyMap<number, NodeOf<"range">>,
  walked: Ranges,
  blame: Blame,
): void {
  const kindOf = (id: number): RangeKind | undefined => ranges.get(id)?.attr.kind;
  if (/p[^p]+p/.test(nest.attr.order.map((id) => (kindOf(id) === "parallel" ? "p" : "-")).join("")))
    blame(nest, "its parallel ranges are not neighbours");
  const [vector, second] = [...ranges.values()].filter((r) => r.attr.kind === "vector");
  if (second) blame(second, "a nest has at most one vector range");
  if (!vector || !walked.has(vector)) return;
  const inside = nest.attr.order
    .slice(nest.attr.order.indexOf(vector.attr.id) + 1)
    .find((id) => walked.has(ranges.get(id) as NodeOf<"range">));
  if (inside !== undefined) blame(vector, `a vector range is the innermost, but range ${inside} lies inside it`);
}
