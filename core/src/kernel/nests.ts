/** The parts of a kernel: its nests, their stores and ranges. Range ids are unique in a kernel and given in order, so the
 *  same steps on the same kernel always name the same ranges. */
import { VerifyError } from "../errors.ts";
import { type Fn, makeFn, topological } from "../ir/fn.ts";
import type { Node, NodeOf, RangeKind } from "../ir/node.ts";
import { build } from "../ops/build.ts";

export type RangeNode = NodeOf<"range">;
export type NestNode = NodeOf<"nest">;
export type LoopNode = NodeOf<"loop">;
/** What a kernel runs in turn. */
export type Item = NestNode | LoopNode;
export type StoreNode = NodeOf<"store">;
export type LoadNode = NodeOf<"load">;
export type AccumulateNode = NodeOf<"accumulate">;

/** @throws VerifyError if the function is not a kernel */
export function kernelNode(kernel: Fn): NodeOf<"kernel"> {
  const root = kernel.results[0];
  if (kernel.results.length === 1 && root?.op === "kernel") return root;
  throw new VerifyError(
    `${kernel.name}: expected a kernel, whose one result is a kernel node, got ${kernel.results.map((r) => r.op).join(", ") || "none"}`,
  );
}

/** The nests and loops of a kernel. */
export const itemsOf = (kernel: Fn): readonly Item[] => kernelNode(kernel).src as readonly Item[];
/** What a loop holds. */
export const bodyOf = (loop: LoopNode): readonly Item[] => loop.src.slice(2) as Item[];
/** The range that a loop runs through. */
export const rangeOfLoop = (loop: LoopNode): RangeNode => loop.src[0] as RangeNode;

/** Every nest in the order in which they stand, those inside of loops included. */
export const nestsOf = (kernel: Fn): readonly NestNode[] => placedNests(kernel).map(({ nest }) => nest);

/** Every nest with the loops around it, the outermost first. */
export function placedNests(kernel: Fn): { readonly nest: NestNode; readonly around: readonly LoopNode[] }[] {
  const walk = (items: readonly Item[], around: readonly LoopNode[]): ReturnType<typeof placedNests> =>
    items.flatMap((item) => (item.op === "nest" ? [{ nest: item, around }] : walk(bodyOf(item), [...around, item])));
  return walk(itemsOf(kernel), []);
}

/** The kernel with other nests in the place of each; the loops around them stay. */
export function replaceNests(kernel: Fn, change: (nest: NestNode, i: number) => readonly NestNode[]): Fn {
  let next = 0;
  const walk = (items: readonly Item[]): Item[] =>
    items.flatMap((item): readonly Item[] => (item.op === "nest" ? change(item, next++) : [rebuilt(item)]));
  const rebuilt = (loop: LoopNode): LoopNode =>
    build("loop", [...loop.src.slice(0, 2), ...walk(bodyOf(loop))], loop.attr);
  return makeKernel(kernel.name, kernel.params, walk(itemsOf(kernel)));
}
/** What a nest stores. */
export const storesOf = (nest: NestNode): readonly StoreNode[] => nest.src as readonly StoreNode[];

export const makeRange = (id: number, extent: number, kind: RangeKind): RangeNode =>
  build("range", [], { id, extent, kind });

/** The ranges that the nodes reach, by id. */
export function rangesIn(roots: readonly Node[]): Map<number, RangeNode> {
  const found = new Map<number, RangeNode>();
  for (const n of topological(roots)) if (n.op === "range") found.set(n.attr.id, n);
  return found;
}

/** Whether the node depends on the range. */
export const reaches = (n: Node, r: RangeNode): boolean => rangesIn([n]).get(r.attr.id) === r;

/** The accumulations below some nodes. */
export const accumulatesIn = (roots: readonly Node[]): AccumulateNode[] =>
  topological(roots).filter((n): n is AccumulateNode => n.op === "accumulate");

/** The loads below some nodes. */
export const loadsIn = (roots: readonly Node[]): LoadNode[] =>
  topological(roots).filter((n): n is LoadNode => n.op === "load");

/** The ranges over which accumulates of the nest run, whatever their kind became. */
export function reduceIds(roots: readonly Node[]): Set<number> {
  return new Set(accumulatesIn(roots).flatMap((n) => n.src.slice(1).map((r) => (r as RangeNode).attr.id)));
}

/** Loops outside, then reductions, then the instances that lie side by side in registers, then the lanes. */
const depth = { outer: 0, loop: 0, parallel: 0, reduce: 1, unroll: 2, vector: 3 } as const satisfies Record<
  RangeKind,
  number
>;

/** A nest whose order holds the ranges that are left of `order`, then new ones by id, each kind at its depth. A range that no
 *  store reaches but that is an output loop stays out: its iterations would all store the same. */
export function makeNest(stores: readonly Node[], order: readonly number[]): NestNode {
  const ranges = rangesIn(stores);
  const known = order.filter((id) => ranges.has(id));
  const kindOf = (id: number): RangeKind => (ranges.get(id) as RangeNode).attr.kind;
  const fresh = [...ranges.keys()].filter((id) => !known.includes(id) && kindOf(id) !== "outer").sort((a, b) => a - b);
  const depthOf = (id: number): number => depth[kindOf(id)];
  const all = [...known, ...fresh];
  return build("nest", stores, { order: all.sort((a, b) => depthOf(a) - depthOf(b)) });
}

export const makeKernel = (name: string, params: Fn["params"], nests: readonly Item[]): Fn =>
  makeFn(name, params, [build("kernel", nests, {})]);

/** The first id that no range, and no scratch buffer, of the kernel has. */
export function nextIds(kernel: Fn): { range: number; scratch: number } {
  let range = 0;
  let scratch = 0;
  for (const n of topological(kernel.results)) {
    if (n.op === "range") range = Math.max(range, n.attr.id + 1);
    if (n.op === "scratch") scratch = Math.max(scratch, n.attr.id + 1);
  }
  return { range, scratch };
}
