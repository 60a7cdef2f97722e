/** Choices of schedules that somebody found by measuring (`sinan/tune`). Nobody's plan knows of them unless it was asked for: by `jit`'s
 *  option, or for a whole process by SINAN_TUNING. */
import type { Fn } from "../ir/fn.ts";
import type { Choose } from "../kernel/plan.ts";
import type { HardwareModel } from "../runtime/hardware.ts";

/** What was found for kernels, as `jit` takes it. */
export interface Tuning {
  /** Of all that it says: a part of the numeric plan. */
  readonly hash: string;
  /** Who decides for a kernel, given by its group; undefined where nothing was found. */
  readonly chooser: (group: Fn, hardware: HardwareModel) => Choose | undefined;
  /** Compiles by it. */
  readonly within: <T>(body: () => T) => T;
}

/** The one that is compiled with now. */
export const tuned: { by: Tuning | undefined } = { by: undefined };

/** The hash of what SINAN_TUNING found for this process, where there is such a thing. */
export const currentTuning = (): string | undefined => tuned.by?.hash;
