/** What text of scalars and text of lanes have in common: operators, refusals, and the loops that lines stand in. */
import { VerifyError } from "../../errors.ts";
import { topological } from "../../ir/fn.ts";
import { dtypeOf, type Node, type Op, type ReduceKind } from "../../ir/node.ts";
import { quadOf } from "../products/byte-product.ts";
import type { CLike } from "./c-like.ts";
import type { Text } from "./lanes.ts";
import { accumulatesIn, type NestNode, type RangeNode } from "../nests.ts";

export function fail(why: string, hint: string): never {
  throw new VerifyError(`kernel as text: ${why}`, { hint });
}

/** Operators that mean in every such language what the op table says. */
export const operators: Partial<Record<Op, string>> = {
  add: "+",
  sub: "-",
  mul: "*",
  div: "/",
  lt: "<",
  eq: "==",
  and: "&",
  or: "|",
  xor: "^",
};

export const combiner = { sum: "add", prod: "mul", max: "max", min: "min" } as const satisfies Record<ReduceKind, Op>;

/** A loop, or the code around all loops of a nest. Values that need results of accumulates stand behind those: `values[l]` needs
 *  accumulates of at most l levels, whose loops are `loops[l - 1]`. */
export interface Block {
  readonly range: RangeNode | undefined;
  readonly parent: Block | undefined;
  readonly values: string[][];
  readonly loops: Block[][];
  readonly names: Map<Node, Text>;
  /** By what they point to. */
  readonly pointers: Map<string, string>;
  /** Behind all values: the next output loop. */
  inner: Block | undefined;
  /** What the sums in it say of where its loop begins and ends; what they do not agree on does not count. */
  readonly begins: Set<string | undefined>;
  readonly ends: Set<string | undefined>;
}

export const newBlock = (range?: RangeNode, parent?: Block): Block => ({
  range,
  parent,
  values: [],
  loops: [],
  names: new Map(),
  pointers: new Map(),
  inner: undefined,
  begins: new Set(),
  ends: new Set(),
});

/** Adds a line behind the values that need accumulates of so many levels. */
export function addLine(block: Block, level: number, line: string): void {
  (block.values[level] ??= []).push(line);
}

/** A block's lines.
 *  @param loop  what stands before the body of a range's loop */
export function linesOf(block: Block, loop: (range: RangeNode, block: Block) => string): string[] {
  const lines: string[] = [];
  for (let level = 0; level < Math.max(block.values.length, block.loops.length); level++) {
    for (const line of block.values[level] ?? []) lines.push(line);
    for (const inner of block.loops[level] ?? []) for (const line of linesOf(inner, loop)) lines.push(line);
  }
  if (block.inner) for (const line of linesOf(block.inner, loop)) lines.push(line);
  return block.range ? [`${loop(block.range, block)} {`, ...lines.map((line) => `  ${line}`), "}"] : lines;
}

/** Loops of a sum of at most so many steps are to have no loop at run time: what depends on the step alone is then known. */
export const SHORT = 8;

/** The head of a loop, from where to where its sums say. A short one of a sum is to be compiled step by step. */
export function loopText(language: CLike, range: RangeNode, { begins, ends }: Block, isShort: boolean): string {
  const { extent } = range.attr;
  const [begin, end] = [begins, ends].map((all) => (all.size === 1 ? [...all][0] : undefined));
  const loop = language.loop(indexName(range), end ?? extent, begin);
  const isWhole = begin === undefined && end === undefined;
  return isWhole && isShort && language.unrolled ? language.unrolled(loop, extent) : loop;
}

export type Point = ReadonlyMap<Node, number>;

/** All points of the ranges, the first range outermost. */
export function points(ranges: readonly RangeNode[]): Point[] {
  let all: Map<Node, number>[] = [new Map()];
  for (const r of ranges)
    all = all.flatMap((p) => Array.from({ length: r.attr.extent }, (_, i) => new Map(p).set(r, i)));
  return all;
}

/** Whether a range is a loop at run time. */
export const isSerial = ({ attr }: RangeNode): boolean => attr.kind !== "unroll" && attr.kind !== "vector";

/** The output ranges of a nest, the outermost first. */
export function outputLoops(nest: NestNode): RangeNode[] {
  const ranges = new Map<number, RangeNode>();
  const bound = new Set<Node>();
  for (const n of topological(nest.src)) {
    if (n.op === "range") ranges.set(n.attr.id, n);
    if (n.op === "accumulate") for (const r of n.src.slice(1)) bound.add(r);
  }
  return nest.attr.order.flatMap((id) => ranges.get(id) ?? []).filter((r) => !bound.has(r));
}

export const indexName = ({ attr }: RangeNode): string => `r${attr.id}`;

/** Index arithmetic up to this length stands where it is used. */
const shortText = 40;

/** Whether a value has a name of its own. */
export const isNamed = (n: Node, { element, parts }: Text): boolean =>
  n.op !== "const" &&
  n.op !== "param" &&
  (n.op !== "range" || element !== undefined) &&
  !(
    element === undefined &&
    (n.op === "add" || n.op === "mul") &&
    dtypeOf(n) === "i32" &&
    (parts[0] ?? "").length <= shortText
  );

/** Loops of sums of at most so many steps are to be none at run time, up to so many steps together: code of more than a first cache is
 *  slower than any loop. */
const STEPS = 16;

/** The innermost loops of the sums that are so short. Around sums of bytes, which are written out, a loop stays one. */
export function shortIn(stores: readonly Node[]): ReadonlySet<Node> {
  const short = new Set<Node>();
  for (const sum of accumulatesIn(stores)) {
    if (accumulatesIn([sum.src[0] as Node]).some(quadOf)) continue;
    let steps = 1;
    for (const r of (sum.src.slice(1) as RangeNode[]).filter(isSerial).reverse()) {
      steps *= r.attr.extent;
      if (r.attr.extent > SHORT || steps > STEPS) break;
      short.add(r);
    }
  }
  return short;
}

/** The innermost loops of sums of products over windows: what one iteration reads of an image, the next one reads again. */
export const slidingIn = (stores: readonly Node[]): ReadonlySet<Node> =>
  new Set(
    accumulatesIn(stores).flatMap((sum) => {
      const ranges = (sum.src.slice(1) as RangeNode[]).filter(isSerial);
      return sum.attr.product && ranges.length > 1 ? ranges.slice(-1) : [];
    }),
  );

/** Instances whose steps are taken in turn. */
const TURNS = 4;

/** The steps of all chains, some of which take turns: a processor looks at some hundred steps ahead, and if all of them are of one long chain,
 *  each waits for the one before. */
export function inTurn<T>(chains: readonly (readonly T[])[]): T[] {
  const all: T[] = [];
  for (let first = 0; first < chains.length; first += TURNS) {
    const some = chains.slice(first, first + TURNS);
    const length = some.reduce((most, chain) => Math.max(most, chain.length), 0);
    for (let step = 0; step < length; step++) for (const chain of some) all.push(...chain.slice(step, step + 1));
  }
  return all;
}
