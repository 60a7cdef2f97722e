/** The functions of a kernel: what may run at one time is one of them, and the threads share its iterations. Nests that touch nothing of
 *  each other are one: what is left over of rows and columns runs with the whole tiles, operands are packed at once. */
import type { Fn } from "../../ir/fn.ts";
import type { Node } from "../../ir/node.ts";
import { areApart } from "../apart.ts";
import { NestText } from "./nest.ts";
import type { Share } from "./shares.ts";
import type { Writing } from "./writing.ts";
import { indexName, outputLoops } from "./text.ts";
import { accumulatesIn, bodyOf, type Item, itemsOf, rangeOfLoop, type StoreNode, storesOf } from "../nests.ts";
import { workOf } from "../parallel.ts";
import { isPacking } from "../shared-tiles.ts";

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

/** Pieces some iterations of each of which run in turn; mostly one alone. */
interface Turn {
  readonly pieces: readonly Piece[];
  readonly extent: number;
  readonly work: number;
}

/** How much the longest iteration counts in a part of several nests. Many short ones may count as one. */
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
  const work = workOfAll(group);
  const [first, ...more] = group as [Piece, ...Piece[]];
  const { language } = context;
  const { share } = language;
  if (group.every(({ extent }) => extent === 1))
    return { lines: group.flatMap(({ item }) => itemLines(item, names, context, undefined)), extent: 1, work };
  if (more.length === 0) return { lines: itemLines(first.item, names, context, share), extent: first.extent, work };
  const turns = inTurns(group);
  const [turn] = turns;
  if (turn && turns.length === 1) return { lines: turnLines(turn, share, names, context), extent: turn.extent, work };
  const sets = byMemory(turns).map((all) => weighed(all));
  const extent = Math.max(...sets.map((set) => set.extent));
  const lines = sets.flatMap((set) => {
    const part = (bound: string): string => (set.extent === extent ? bound : `${bound} * ${set.extent} / ${extent}`);
    const of = { begin: part(share.begin), end: part(share.end) };
    return set.turns.flatMap((one) => weighedLines(one, of, names, context));
  });
  return { lines, extent, work };
}

const workOfAll = (group: readonly Piece[]): number => group.reduce((sum, piece) => sum + piece.work, 0);

/** Pieces that go one behind the other. Of all that is packed into one memory a share has the same part as of that in another one: threads
 *  multiply by what they packed themselves, as they have a run of each. */
function byMemory(turns: readonly Turn[]): Turn[][] {
  const memoryOf = ({ pieces: [piece] }: Turn): Node | undefined =>
    piece?.item.op === "nest" && isPacking(piece.item) ? storesOf(piece.item)[0]?.src[0] : undefined;
  return turns.every(memoryOf) ? [...Map.groupBy(turns, memoryOf).values()] : [[...turns]];
}

/** A turn that begins behind others and counts as so much. */
interface Weighed extends Turn {
  readonly before: number;
  readonly length: number;
}

function weighed(turns: readonly Turn[]): { readonly turns: readonly Weighed[]; readonly extent: number } {
  const greatest = turns.reduce((most, t) => Math.max(most, t.work / t.extent), 0);
  let extent = 0;
  const all = turns.map((turn): Weighed => {
    const length = Math.max(1, Math.round((GREATEST * turn.work) / greatest));
    const before = extent;
    extent += length;
    return { ...turn, before, length };
  });
  return { turns: all, extent };
}

function weighedLines(turn: Weighed, of: Share, names: ReadonlyMap<Node, string>, context: Writing): string[] {
  const { language } = context;
  const i64 = context.typeOf("i64");
  const bound = (text: string): string => language.share.within(text, turn.before, turn.length, turn.extent);
  return [
    "{",
    `  ${language.constant(i64, "first", bound(of.begin))}`,
    `  ${language.constant(i64, "last", bound(of.end))}`,
    "  if (first < last) {",
    ...turnLines(turn, { begin: "first", end: "last" }, names, context).map((line) => `    ${line}`),
    "  }",
    "}",
  ];
}

/** Operations that are worth going from one nest to the next. */
const TURN = 4096;

/** Pieces that each go once through the same memory, as a copy and the borders around it do, or the windows of a pool, take turns; each other one is
 *  by itself. */
function inTurns(group: readonly Piece[]): Turn[] {
  // Panels that are packed lie apart, each in an order of its own.
  const isMoved = ({ item }: Piece): boolean =>
    item.op === "nest" &&
    accumulatesIn(item.src).every(({ attr }) => !attr.product) &&
    storesOf(item).every(({ src: [buffer] }) => buffer?.op === "param");
  const moved = group.filter(isMoved);
  const extent = Math.min(...moved.map((piece) => piece.extent));
  const alone = (piece: Piece): Turn => ({ ...piece, pieces: [piece] });
  if (moved.length < 2 || extent === 1 || moved.some((piece) => piece.extent % extent !== 0)) return group.map(alone);
  const others = group.filter((piece) => !moved.includes(piece));
  return [...others.map(alone), { pieces: moved, extent, work: workOfAll(moved) }];
}

/** Some iterations of each piece in turn: what one of them touches the next finds in the first cache. */
function turnLines(
  { pieces, extent, work }: Turn,
  share: Share,
  names: ReadonlyMap<Node, string>,
  context: Writing,
): string[] {
  const [alone, ...more] = pieces as [Piece, ...Piece[]];
  if (more.length === 0) return itemLines(alone.item, names, context, share);
  const { language } = context;
  const { begin, end } = share;
  const step = Math.max(1, Math.min(extent, Math.round((TURN * extent) / work)));
  const turns = step === 1 ? `${end} - ${begin}` : `(${end} - ${begin} + ${step - 1}) / ${step}`;
  const i64 = context.typeOf("i64");
  const [from, to] = ["from", "to"] as const;
  const next = step === 1 ? `${from} + 1` : language.select(`${from} + ${step} < ${end}`, `${from} + ${step}`, end);
  return [
    `${language.loop("turn", turns)} {`,
    `  ${language.constant(i64, from, step === 1 ? `${begin} + turn` : `${begin} + turn * ${step}`)}`,
    `  ${language.constant(i64, to, next)}`,
    ...pieces.flatMap(({ item, extent: own }) => {
      const times = own === extent ? "" : ` * ${own / extent}`;
      const part = { begin: `${from}${times}`, end: `${to}${times}` };
      return itemLines(item, names, context, part).map((line) => `  ${line}`);
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
