/** How many rows and vectors of a product lie in registers at a time.
 *
 *  A step of a tile of r rows and v vectors reads v vectors of the one operand and r elements of the other, and does r·v fused
 *  multiply-adds: r·v accumulators, v vectors and one repeated element are to fit into the registers, and more than eight
 *  accumulators are needed to hide what an addition takes. */
import type { Fn } from "../../ir/fn.ts";
import type { Node, ReduceKind } from "../../ir/node.ts";
import type { TensorType } from "../../ir/type.ts";
import type { HardwareModel } from "../../runtime/hardware.ts";
import type { AccumulateNode, NestNode, RangeNode } from "../nests.ts";
import { refuse, type Site, type WideOption } from "../option.ts";
import type { Plan } from "../plan.ts";

/** A register tile, in rows and vectors. */
export interface TileSize {
  readonly rows: number;
  readonly vectors: number;
}

/** What the size of a tile depends on. */
export interface TileShape {
  /** Rows of the whole product. */
  readonly count: number;
  /** Vectors that all columns fill. */
  readonly width: number;
  /** Whether rows of a window of several ranges are to be cut evenly. */
  readonly windowed: boolean;
  /** Whether the columns lie along k in memory as they are: blocks of lanes² elements are turned in registers. */
  readonly turned: boolean;
  /** The sum, and which of its operands the columns are, unless panels of them are there already. */
  readonly of?: { readonly sum: AccumulateNode; readonly operand: 0 | 1 };
  /** Whether an element of the columns takes many operations, which would be written out once for each vector. */
  readonly long: boolean;
}

interface Columns {
  /** The operand that depends on them. */
  readonly operand: 0 | 1;
  readonly lanes: number;
}

/** A tile whose rows are packed, and their range. */
interface PackedTile extends TileSize {
  readonly m: number | undefined;
}

/** A tile that has the iterations of two ranges as rows. */
export interface Side extends TileSize {
  /** Cuts off what of the second range is no whole tile: the ids of the ranges of the nest behind; undefined where there is none. */
  readonly peel: (plan: Plan, i: number) => ReadonlyMap<number, number> | undefined;
  /** Takes those of the second range into the tile. */
  readonly unroll: (plan: Plan, i: number) => void;
  /** The same where ranges have other ids. */
  readonly moved: (ids: ReadonlyMap<number, number>) => Side;
}

/** Rules for machines of wide vectors. */
export interface WideRules {
  readonly tile: (registers: number, shape: TileShape) => TileSize;
  /** Whether all that an operand of a sum of products is made of lies in memory along the sum: converted it still can be read so. */
  readonly liesAlong: (sum: AccumulateNode, operand: 0 | 1) => boolean;
  /** Whether rows of so many elements leave many lanes of their last vectors empty, or fill one alone. */
  readonly isRagged: (extent: number, lanes: number) => boolean;
  /** The tile of a convolution whose range of rows m is too short to keep all registers at work, with a second one beside it. */
  readonly side: (
    plan: Plan,
    i: number,
    of: { readonly m: number; readonly n: number; readonly lanes: number },
  ) => Side | undefined;
  /** Schedules nest i, if it is a product of few bits, and returns the position behind.
   *  @param pack  schedules a nest that packs an operand */
  readonly packed: (plan: Plan, i: number, pack: Pack) => number | undefined;
  /** Cuts the sum where the columns lie along it, so that as many of its steps as there are lanes read a block of them, which is
   *  turned in registers. */
  readonly turnBlocks: (plan: Plan, i: number, sum: AccumulateNode, columns: Columns) => void;
  /** Packs and multiplies some rows of nest `product` at a time, and returns the position behind; undefined for all at once.
   *  @param start  the first nest that is not scheduled yet
   *  @param piece  does so with a nest, into scratch memory of an id, or into memory of its own */
  readonly inPieces: <T extends PackedTile>(
    plan: Plan,
    of: { readonly product: number; readonly start: number; readonly tile: T; readonly terms: number },
    piece: (product: number, start: number, tile: T, into?: number) => number,
    moved: (tile: T, ids: ReadonlyMap<number, number>) => T,
  ) => number | undefined;
  /** Scratch memory for the panels of a nest that an option before made, where nothing from this nest on reads what lies there. */
  readonly usedScratch: (site: Site, id: number, like: Node, dims: readonly number[]) => Node;
  /** How many panels, of so many rows or columns, are packed at a time. */
  readonly panels: (count: number, length: number) => number;
  /** The lanes of a loop's vectors. */
  readonly lanes: (extent: number, most: number) => number;
  /** The lanes of narrower vectors for the last iterations of a loop; 0 where they are too few to matter. */
  readonly narrower: (left: number, extent: number, lanes: number) => number;
  /** Whether the lanes of a sum are results, along a range of the output, rather than terms, in runs of so many of the reduced range. */
  readonly isAcross: (value: Node, along: RangeNode, reduced: RangeNode, run: number) => boolean;
  /** The nests that an option makes. */
  readonly apply: (site: Site, option: WideOption) => readonly NestNode[];
  /** Whether sums along columns are taken row after row, in rounds of so many. */
  readonly isByRows: (sum: AccumulateNode, along: RangeNode, reduced: RangeNode, parts: number) => boolean;
  /** Has the blocks of a long sum follow each other as they lie in memory: those of one run before those of another. */
  readonly orderBlocks: (plan: Plan, i: number) => void;
  /** The kernel in two, where it is a product by weights in blocks of few bits that stay, whose rows are worth laying beside each other once. */
  readonly laidAhead: (plan: Plan, isKept: (param: number) => boolean) => InTwo | undefined;
  /** Whether a reduction is the most or least of a small window: the same in any order, its loops stay as they are. */
  readonly isWindow: (kind: ReduceKind, extents: readonly number[]) => boolean;
}

type Pack = (plan: Plan, i: number) => number;

/** A kernel that packs weights, and one that takes what it gives in their place; nobody has scheduled them yet. */
export interface InTwo {
  readonly pack: Fn;
  /** The parameter of the whole kernel that the weights are. */
  readonly weights: number;
  /** What is packed of them. */
  readonly panels: TensorType;
  readonly main: Fn;
}

let wide: WideRules | undefined;

/** Whoever generates code for wide vectors adds the rules for them (`wide-tile.ts`); a small page does without. */
export function addWideRules(rules: WideRules): void {
  wide = rules;
}

const forWide = "only for wide vectors";

/** What an option for wide vectors makes of a nest. @throws ScheduleError where nobody added the rules */
export const applyWide: WideRules["apply"] = (site, option) => wide?.apply(site, option) ?? refuse(site, forWide);

/** The memory that `stage` is told to use again. @throws ScheduleError where nobody added the rules */
export const usedScratch: WideRules["usedScratch"] = (site, id, like, dims) =>
  wide?.usedScratch(site, id, like, dims) ?? refuse(site, forWide);

/** The rules, if the registers hold more than the four lanes, or are more than the sixteen, of WebAssembly: arithmetic is then so
 *  fast that an operand that can be read where it lies is not worth a copy. */
export const wideRules = ({ limits }: HardwareModel, lanes: number): WideRules | undefined =>
  lanes > 4 || limits.vectorRegisters > 16 ? wide : undefined;

export const isWide = (hardware: HardwareModel, lanes: number): boolean => wideRules(hardware, lanes) !== undefined;

export const tileSize = (hardware: HardwareModel, lanes: number, shape: TileShape): TileSize =>
  wideRules(hardware, lanes)?.tile(hardware.limits.vectorRegisters, shape) ?? narrowTile(hardware, shape);

function narrowTile({ limits }: HardwareModel, { count, windowed, turned, long }: TileShape): TileSize {
  const most = limits.vectorRegisters >= 16 ? 6 : 4;
  const rows = windowed ? evenly(count, most) : most;
  // Few rows need more vectors side by side; not too many where these are columns of rows that lie along k, of which four
  // iterations are in registers at a time.
  const few = turned ? 4 : 8;
  return { rows, vectors: long ? 2 : count === 1 ? few : count === 2 ? 4 : 2 };
}

/** The fewest rows of so few tiles. */
export const evenly = (count: number, most: number): number => Math.ceil(count / Math.ceil(count / most));
