/** What a plan does with memory, as data: for whoever reports it, and for who changes the plan to need less. */
import type { Node } from "../ir/node.ts";
import type { MemoryPlan, Use, Value } from "./memory-plan.ts";

/** A step of a plan before its values have places. */
export interface Scheduled {
  /** The step that the compiler made, which this is or repeats. */
  readonly origin: number;
  /** Values that stand for those of the step. */
  readonly rename: ReadonlyMap<number, number>;
}

export interface Layout {
  /** Each with the node that it is the value of. */
  readonly values: readonly (Value & { readonly node: Node })[];
  /** What the steps do, in order. */
  readonly uses: readonly Use[];
  readonly memory: MemoryPlan;
  readonly alignment: number;
}

/** A schedule that a policy may change. */
export interface Draft {
  readonly name: string;
  readonly values: readonly (Value & { readonly node: Node })[];
  readonly uses: readonly Use[];
  /** Whether a step may be run again: it is a kernel. */
  readonly repeatable: readonly boolean[];
  readonly outputs: number;
  readonly alignment: number;
  readonly donated: ReadonlySet<number>;
  /** The most bytes of one block of temporaries. */
  readonly mostBytes: number | undefined;
}

/** Changes a schedule so that it needs less memory: values beyond the draft's are copies of earlier ones.
 *  @throws OutOfMemoryError where that cannot be */
export type Fit = (draft: Draft) => {
  readonly values: readonly (Value & { readonly node: Node })[];
  readonly steps: readonly Scheduled[];
};
