/** What the kernels of attention are written with: tiles in scratch memory, nests and loops over them, the work in blocks, and who
 *  sees whom. */
import { dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { add, build, cast, eq, lt, min, mul, scalar, where } from "../ops/build.ts";
import { boundedOf, operandsOf } from "../ops/attention-plain.ts";
import { addIndex, allOf, constIndex, knownDims, mulIndex, subIndex } from "../ops/indexing.ts";
import type { ItemTools } from "./lower.ts";
import { type Item, makeNest } from "./nests.ts";

/** Queries of a tile, along the lanes, and keys. */
export const LANES = 32;
export const KEYS = 32;
/** In the backward pass keys lie along the lanes, and these are queries. */
export const STEPS = 64;
/** Keys of which the scores of a query that is alone are made at a time. */
export const FEW = 16;
/** Blocks of work, each with scratch memory of its own: enough to be shared evenly. */
export const BLOCKS = 32;
/** Keys that share a state, a multiple of `KEYS`: long enough to be worth a thread, and short enough to be shared evenly. */
export const PART = 1024;

export const none = Number.NEGATIVE_INFINITY;

/** A part of the scratch memory: rows of `width`, one array for each block. */
export interface Tile {
  readonly at: (row: Node, column: Node) => Node;
  readonly set: (row: Node, column: Node, value: Node) => Node;
}

/** What is known of a tile of queries after some keys: the largest score, the sum of exponentials, and the values mixed by them. */
export interface State {
  readonly m: Tile;
  readonly l: Tile;
  readonly o: Tile;
}

/** One of the tiles in a buffer of them. */
export function tileIn(buffer: Node, place: Node, rows: number, width: number): Tile {
  const index = (row: Node, column: Node): Node =>
    addIndex(addIndex(mulIndex(place, rows * width), mulIndex(row, width)), column);
  return {
    at: (row, column) => build("load", [buffer, index(row, column)], {}),
    set: (row, column, value) => build("store", [buffer, index(row, column), value], {}),
  };
}

/** What both kernels are written with. */
export function toolsOf(
  { newRange, newOuter, newScratch }: ItemTools,
  block: Node,
  blocks: number,
  dtype: ReturnType<typeof dtypeOf>,
) {
  const tile = (rows: number, width: number, of = dtype): Tile =>
    tileIn(newScratch(of, blocks * rows * width), block, rows, width);
  /** A nest over these many rows and columns. */
  const nest = (rows: number, columns: number, stores: (row: Node, column: Node) => readonly Node[]): Item => {
    const ranges = [newRange(rows, "loop"), newRange(columns, "loop")] as const;
    return makeNest(
      stores(...ranges),
      ranges.flatMap((r) => (r.op === "range" ? [r.attr.id] : [])),
    );
  };
  const total = (kind: "sum" | "max" | "min", terms: number, term: (k: Node) => Node): Node => {
    const k = newRange(terms, "reduce");
    const value = term(k);
    return k.op === "range" ? build("accumulate", [value, k], { kind }) : value;
  };
  const product = (terms: number, term: (k: Node) => readonly [Node, Node]): Node => {
    const k = newRange(terms, "reduce");
    const value = mul(...term(k));
    return k.op === "range" ? build("accumulate", [value, k], { kind: "sum", product: true }) : value;
  };
  const loop = (extent: number, limit: Node, body: (i: Node) => readonly Item[]): Item[] => {
    if (extent === 0) return [];
    const i = newOuter(extent);
    const items = body(i);
    return items.length === 0 ? [] : [build("loop", [i, limit, ...items], { kind: "serial" })];
  };
  return { tile, nest, total, product, loop, number: (x: number): Node => scalar(x, dtype) };
}

/** Few rows are no lanes: keys, or elements of a value, then lie along them. */
export const padded = (n: number): number => (n < 4 ? n : Math.min(LANES, Math.ceil(n / 4) * 4));

/** Cuts an extent into whole tiles and what is left. */
export const cut = (extent: number, size: number): { readonly whole: number; readonly rest: number } => ({
  whole: Math.floor(extent / size),
  rest: extent % size,
});

/** The work in blocks that run side by side, each its share in turn. `body` is given the block and a piece of work. */
export function inBlocks(
  work: number,
  newOuter: ItemTools["newOuter"],
  body: (block: Node, blocks: number, piece: Node) => readonly Item[],
): Item[] {
  const share = Math.ceil(work / BLOCKS);
  const blocks = Math.ceil(work / share);
  const block = newOuter(blocks);
  const inner = newOuter(share);
  const first = mulIndex(block, share);
  const limit = blocks * share === work ? constIndex(share) : min(constIndex(share), subIndex(constIndex(work), first));
  const items = body(block, blocks, addIndex(first, inner));
  if (items.length === 0) return [];
  const each = build("loop", [inner, limit, ...items], { kind: "serial" });
  return [build("loop", [block, constIndex(blocks), each], { kind: "parallel" })];
}

/** −∞ as a number that can be subtracted. */
export const finite = (x: Node): Node => {
  const dtype = dtypeOf(x);
  return where(eq(x, scalar(none, dtype)), scalar(0, dtype), x);
};

/** How many keys there are to a piece of work, as an index. */
export interface Keys {
  readonly count: Node;
  /** What writes down the number before it is used: it is read in many places. */
  readonly before: readonly Item[];
  /** A key's or value's element, 0 behind the last one: what lies there is anything. */
  readonly within: (key: Node, value: Node) => Node;
}

export function keysOf(
  { src, attr }: NodeOf<"attention" | "attentionBackward">,
  b: Node,
  { tile, nest }: Pick<ReturnType<typeof toolsOf>, "tile" | "nest">,
  valueAt: ItemTools["valueAt"],
): Keys {
  const { q, k, lengths } = operandsOf(src, attr);
  const [queries, keys] = [q, k].map((n) => knownDims(n)[2]) as [number, number];
  if (!lengths) return { count: constIndex(keys), before: [], within: (_, value) => value };
  const zero = constIndex(0);
  const held = tile(1, 1, "i32");
  const count = held.at(zero, zero);
  return {
    count,
    before: [nest(1, 1, () => [held.set(zero, zero, boundedOf(valueAt(lengths, [b]), queries, keys))])],
    within: (key, value) => where(lt(key, count), value, scalar(0, dtypeOf(value))),
  };
}

/** The condition under which a query sees a key, and what is added to the score. */
export function masking(
  y: NodeOf<"attention" | "attentionBackward">,
  count: Node,
  valueAt: ItemTools["valueAt"],
): (score: Node, at: readonly [b: Node, h: Node, t: Node, s: Node], inside: readonly (Node | undefined)[]) => Node {
  const { mask, lengths, starts } = operandsOf(y.src, y.attr);
  const queries = knownDims(y.src[0] as Node)[2] as number;
  return (score, [b, h, t, s], inside) => {
    const dtype = dtypeOf(score);
    const given =
      mask &&
      valueAt(
        mask,
        knownDims(mask).map((d, a) => (d === 1 ? constIndex(0) : ([b, h, t, s][a] as Node))),
      );
    const isBool = given && dtypeOf(given) === "bool";
    const biased = given && !isBool ? add(score, cast(given, dtype)) : score;
    const seen = y.attr.causal ? lt(s, addIndex(t, addIndex(count, constIndex(1 - queries)))) : undefined;
    const held = lengths ? lt(s, count) : undefined;
    const begun = starts && lt(valueAt(starts, [b, t]), addIndex(s, constIndex(1)));
    const condition = allOf([...inside, held, seen, begun, isBool ? given : undefined]);
    return condition ? where(condition, biased, scalar(none, dtype)) : biased;
  };
}
