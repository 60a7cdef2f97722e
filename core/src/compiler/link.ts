/** How what runs functions (a scan, a choice) becomes a step of a plan: the contract between the linker and the entries of such
 *  ops. */
import type { Fn } from "../ir/fn.ts";
import type { NodeOf, Op } from "../ir/node.ts";
import type { Place, Plan, Slot, Step } from "../runtime/program.ts";

export interface LinkTools {
  /** The values of the node's sources and of its results, by number. */
  readonly args: readonly number[];
  readonly results: readonly number[];
  /** Bytes; every place in memory is a multiple. */
  readonly alignment: number;
  /** The plan of a function that the step runs, which shares the program's kernels and has one block of memory at most. `donated`: parameters that results may take over. */
  plan(fn: Fn, donated: ReadonlySet<number>): Plan;
  bytes(value: number): number;
}

export interface Linked {
  /** Bytes of memory while the step runs. */
  readonly scratch: number;
  /** Sources whose memory any result of as many bytes may take over. */
  readonly inPlace?: readonly number[];
  /** The step, once it is known where values lie; `scratch` is a place in the plan's own memory. */
  step(slot: (value: number) => Slot, scratch: Place): Step;
}

export type Link<O extends Op> = (y: NodeOf<O>, tools: LinkTools) => Linked;
