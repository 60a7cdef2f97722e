/** The functions of a kernel: what may run at one time is one of them, and the threads share its iterations. Nests that touch nothing of
 *  each other are one: what is left over of rows and columns runs with the whole tiles, operands are packed at once. */
import type { Fn } from "../ir/fn.ts";
import type { Node } from "../ir/node.ts";
import { areApart } from "./apart.ts";
import { NestText } from "./c-like-nest.ts";
import type { Share } from "./c-like-shares.ts";
import type { Writing } from "./c-like-writing.ts";
import { indexName, outputLoops } from "./c-like-text.ts";
import {
  accumulatesIn,
  bodyOf,
  type Item,
  itemsOf,
  type NestNode,
  rangeOfLoop,
  type StoreNode,
  storesOf,
} from "./nests.ts";
import { workOf } from "./parallel.ts";
import { isPacking } from "./shared-tiles.ts";

export interface Part {
  readonly lines: string[];
  /** The iterations that threads may share; 1 where nothing is shared. */
  readonly extent: number;
  /** About how many operations all of them are. */
  readonly work: number;
}

/** Something of a part, and the iterations of it that threads may share. */
interface Piece {
  readonly item: Item;
  readonly extent: number;
  readonly work: number;
}

/** How much the longest iteration counts in a part of several nests. */
const GREATEST = 8;

/** The parts of a kernel: neighbours that cannot be shared are one, and so are those of which one can, if they touch nothing of each other. */
export function partsOf(kernel: Fn, names: ReadonlyMap<Node, string>, context: Writing): Part[] {
  const groups: Piece[][] = [];
  for (const item of itemsOf(kernel)) {
    if (isEmpty(item)) continue;
    const piece = { item, extent: sharedExtent(item), work: workIn(item) };
    const last = groups.at(-1);
    if (last && isOne(last, piece)) last.push(piece);
    else groups.push([piece]);
  }
  return groups.map((group) => partOf(group, names, context));
}

function isOne(group: readonly Piece[], piece: Piece): boolean {
  const all = [...group, piece];
  if (all.every(({ extent }) => extent === 1)) return true;
  return all.every(({ item: a }, i) =>
    all.slice(i + 1).every(({ item: b }) => a.op === "nest" && b.op === "nest" && areApart(a, b)),
  );
}

function partOf(group: readonly Piece[], names: ReadonlyMap<Node, string>, context: Writing): Part {
  const work = group.reduce((sum, piece) => sum + piece.work, 0);
  const [first, ...more] = group as [Piece, ...Piece[]];
  const { language } = context;
  const { share } = language;
  if (group.every(({ extent }) => extent === 1))
    return { lines: group.flatMap(({ item }) => itemLines(item, names, context, undefined)), extent: 1, work };
  if (more.length === 0) return { lines: itemLines(first.item, names, context, share), extent: first.extent, work };
  const side = sideBySide(group);
  if (side) return { lines: sideLines(group, side, names, context), extent: side, work };
  const sets = byMemory(group).map((pieces) => weighed(pieces));
  const extent = Math.max(...sets.map((set) => set.extent));
  const lines = sets.flatMap((set) => {
    const part = (bound: string): string => (set.extent === extent ? bound : `${bound} * ${set.extent} / ${extent}`);
    const of = { begin: part(share.begin), end: part(share.end) };
    return set.pieces.flatMap((piece) => pieceLines(piece, of, names, context));
  });
  return { lines, extent, work };
}

/** Pieces that go one behind the other. Of all that is packed into one memory a share has the same part as of that in another one: threads
 *  multiply by what they packed themselves, as they have a run of each. */
function byMemory(group: readonly Piece[]): Piece[][] {
  if (!group.every(({ item }) => item.op === "nest" && isPacking(item))) return [[...group]];
  return [...Map.groupBy(group, ({ item }) => storesOf(item as NestNode)[0]?.src[0]).values()];
}

/** A piece whose iterations count `weight` each and begin behind others. */
interface Weighed extends Piece {
  readonly before: number;
  readonly weight: number;
}

function weighed(pieces: readonly Piece[]): { readonly pieces: readonly Weighed[]; readonly extent: number } {
  const greatest = pieces.reduce((most, p) => Math.max(most, p.work / p.extent), 0);
  let extent = 0;
  const all = pieces.map((piece): Weighed => {
    const weight = Math.max(1, Math.round((GREATEST * piece.work) / piece.extent / greatest));
    const before = extent;
    extent += piece.extent * weight;
    return { ...piece, before, weight };
  });
  return { pieces: all, extent };
}

function pieceLines(
  { item, extent, before, weight }: Weighed,
  of: Share,
  names: ReadonlyMap<Node, string>,
  context: Writing,
): string[] {
  const { language } = context;
  const i64 = context.typeOf("i64");
  const bound = (text: string): string => language.share.within(text, before, weight, extent);
  return [
    "{",
    `  ${language.constant(i64, "first", bound(of.begin))}`,
    `  ${language.constant(i64, "last", bound(of.end))}`,
    "  if (first < last)",
    ...itemLines(item, names, context, { begin: "first", end: "last" }).map((line) => `  ${line}`),
    "}",
  ];
}

/** Operations that are worth going from one nest to the next. */
const TURN = 4096;

/** How many iterations nests have that each go once through the same memory, as a copy and the borders around it do; undefined of others. */
function sideBySide(group: readonly Piece[]): number | undefined {
  const least = Math.min(...group.map(({ extent }) => extent));
  // Panels that are packed lie apart, each in an order of its own.
  const isMoved = ({ item, extent }: Piece): boolean =>
    item.op === "nest" &&
    accumulatesIn(item.src).length === 0 &&
    extent % least === 0 &&
    storesOf(item).every(({ src: [buffer] }) => buffer?.op === "param");
  return least > 1 && group.every(isMoved) ? least : undefined;
}

/** Some iterations of each nest in turn: what one of them touches the next finds in the first cache. */
function sideLines(
  group: readonly Piece[],
  extent: number,
  names: ReadonlyMap<Node, string>,
  context: Writing,
): string[] {
  const { language } = context;
  const { begin, end } = language.share;
  const work = group.reduce((sum, piece) => sum + piece.work, 0) / extent;
  const step = Math.max(1, Math.min(extent, Math.round(TURN / work)));
  const turns = step === 1 ? `${end} - ${begin}` : `(${end} - ${begin} + ${step - 1}) / ${step}`;
  const i64 = context.typeOf("i64");
  const [from, to] = ["from", "to"] as const;
  const next = step === 1 ? `${from} + 1` : language.select(`${from} + ${step} < ${end}`, `${from} + ${step}`, end);
  return [
    `${language.loop("turn", turns)} {`,
    `  ${language.constant(i64, from, step === 1 ? `${begin} + turn` : `${begin} + turn * ${step}`)}`,
    `  ${language.constant(i64, to, next)}`,
    ...group.flatMap(({ item, extent: own }) => {
      const times = own === extent ? "" : ` * ${own / extent}`;
      const share = { begin: `${from}${times}`, end: `${to}${times}` };
      return itemLines(item, names, context, share).map((line) => `  ${line}`);
    }),
    "}",
  ];
}

const isEmpty = (item: Item): boolean =>
  item.op === "nest"
    ? outputLoops(item).some((r) => r.attr.extent === 0)
    : rangeOfLoop(item).attr.extent === 0 || bodyOf(item).every(isEmpty);

/** The iterations of the parallel loops; 1 where there is none. */
function sharedExtent(item: Item): number {
  if (item.op === "nest")
    return outputLoops(item).reduce((n, r) => (r.attr.kind === "parallel" ? n * r.attr.extent : n), 1);
  return item.attr.kind === "parallel" ? rangeOfLoop(item).attr.extent : 1;
}

const workIn = (item: Item): number =>
  item.op === "nest" ? workOf(item) : bodyOf(item).reduce((sum, inner) => sum + workIn(inner), 0);

/** A nest, or a loop around nests. */
function itemLines(item: Item, names: ReadonlyMap<Node, string>, context: Writing, share: Share | undefined): string[] {
  if (item.op === "nest") return new NestText(item.src as readonly StoreNode[], names, context, share).lines(item);
  const { language } = context;
  const range = rangeOfLoop(item);
  const limit = new NestText([], names, context, undefined).scalar(item.src[1] as Node);
  const inside = bodyOf(item).flatMap((inner) => (isEmpty(inner) ? [] : itemLines(inner, names, context, undefined)));
  const loop = share
    ? language.loop(indexName(range), share.end, share.begin)
    : language.loop(indexName(range), limit.value);
  return [
    "{",
    ...(share ? [] : limit.lines.map((line) => `  ${line}`)),
    `  ${loop} {`,
    ...inside.map((line) => `    ${line}`),
    "  }",
    "}",
  ];
}
