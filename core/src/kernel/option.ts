/** The options of schedules, and what each of them works on. */
import { ScheduleError } from "../errors.ts";
import type { Fn } from "../ir/fn.ts";
import type { RangeKind } from "../ir/node.ts";
import { type AccumulateNode, accumulatesIn, type NestNode, type RangeNode } from "./nests.ts";

/** One decision of a schedule. */
export type Option =
  /** Neighbouring ranges, outermost first, become one. Its id is new. */
  | { readonly option: "collapse"; readonly nest: number; readonly ranges: readonly number[] }
  /** A range becomes an outer one and an inner one of `factor`: the next two ids. */
  | { readonly option: "split"; readonly nest: number; readonly range: number; readonly factor: number }
  /** The iterations from `at` on leave for a nest of their own right behind, whose ranges all have new ids. */
  | { readonly option: "peel"; readonly nest: number; readonly range: number; readonly at: number }
  /** An output range grows to a multiple; what is beyond is neither loaded nor stored. */
  | { readonly option: "pad"; readonly nest: number; readonly range: number; readonly multiple: number }
  | { readonly option: "reorder"; readonly nest: number; readonly order: readonly number[] }
  | { readonly option: "unroll"; readonly nest: number; readonly range: number }
  /** `lanes` neighbouring iterations of an output range become the lanes of a vector: split, unless the range is that long. */
  | { readonly option: "vectorize"; readonly nest: number; readonly range: number; readonly lanes: number }
  | { readonly option: "parallel"; readonly nest: number; readonly range: number }
  /** Iteration k of a reduce range goes to partial accumulator k mod `parts`, `lanes` of which share a vector. What is left
   *  of the range comes after them, in order. */
  | {
      readonly option: "accumulateParts";
      readonly nest: number;
      readonly range: number;
      readonly parts: number;
      readonly lanes: number;
    }
  /** Sums of `block` iterations are kept in scratch by a nest before this one (two, where a shorter block is left), and added
   *  up here. */
  | { readonly option: "accumulateBlocks"; readonly nest: number; readonly range: number; readonly block: number }
  /** The same partial accumulators of a sum, all kept in scratch and taken on by a row of terms at a time: two nests before this one, where
   *  they are added up. */
  | { readonly option: "accumulateRows"; readonly nest: number; readonly range: number; readonly parts: number }
  /** Each `run` iterations of the first range of a sum have a sum of their own, in registers; those are added up in order. */
  | { readonly option: "sumRuns"; readonly nest: number; readonly range: number; readonly run: number }
  /** An operand of a product's sum is first packed, in panels of `tile` along a range: scratch[others][⌈range / tile⌉][reduced][tile],
   *  zeros beyond the range, in the scratch memory `into`, which nothing reads any more, or in one of its own. One nest packs, two where
   *  the last panel is not full. */
  | {
      readonly option: "stage";
      readonly nest: number;
      readonly operand: 0 | 1;
      readonly range: number;
      readonly tile: number;
      readonly into?: number | undefined;
    }
  /** An operand of a product's sum is first computed, for all of the sum's range, into scratch memory in which it lies along that. */
  | { readonly option: "stageAlong"; readonly nest: number; readonly operand: 0 | 1; readonly range: number }
  /** Two neighbouring terms of a sum of products of bf16, or four of bytes, become one: parts of words of the operands. */
  | { readonly option: "pairTerms"; readonly nest: number; readonly range: number }
  /** An operand of a sum of products of i8 becomes u8, greater by 128, and as many times the sum of the other operand, which a nest before
   *  this one keeps in scratch, is taken off. */
  | { readonly option: "moveSigns"; readonly nest: number; readonly operand: 0 | 1; readonly range: number }
  /** What `stage` does, for the words of an operand of such a sum. */
  | {
      readonly option: "stagePairs";
      readonly nest: number;
      readonly operand: 0 | 1;
      readonly range: number;
      readonly tile: number;
      readonly into?: number | undefined;
    };

/** Options that are for wide vectors alone. */
export type WideOption = Extract<
  Option,
  { option: "accumulateRows" | "moveSigns" | "pairTerms" | "stageAlong" | "stagePairs" | "sumRuns" }
>;

/** What an option works on. */
export interface Site {
  readonly option: Option;
  readonly kernel: Fn;
  readonly nest: NestNode;
  readonly ranges: ReadonlyMap<number, RangeNode>;
  /** The ranges of the parallel loops around the nest: what it keeps in scratch memory is one for each iteration of those. */
  readonly around: readonly RangeNode[];
  readonly newRange: (extent: number, kind: RangeKind) => RangeNode;
}

export function refuse(site: Site, why: string, hint?: string): never {
  throw new ScheduleError(
    `${site.option.option}: ${why} (nest ${site.option.nest} of ${site.kernel.name}, order [${site.nest.attr.order.join(", ")}])`,
    { hint },
  );
}

export function rangeOf(site: Site, id: number): RangeNode {
  return site.ranges.get(id) ?? refuse(site, `there is no range ${id}`);
}

/** A range over which one accumulate runs, still a plain loop. */
export function reduced(site: Site, id: number): readonly [RangeNode, AccumulateNode] {
  const r = rangeOf(site, id);
  const users = accumulatesIn(site.nest.src).filter((n) => n.src.includes(r));
  if (r.attr.kind !== "reduce" || users.length !== 1)
    refuse(site, `expected range ${id} to be a plain reduce range of one accumulate`);
  return [r, users[0] as AccumulateNode];
}
