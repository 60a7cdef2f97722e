/** From a fusion group to an artifact, once for each structure and hardware. */
import { type Fn, fnEqual } from "../ir/fn.ts";
import { expandTranscendentals, lower, scheduled } from "../kernel/index.ts";
import { groupRules } from "../kernel/group-rules.ts";
import type { Artifact, Codegen } from "../runtime/driver.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { codegenFor } from "../runtime/registry.ts";
import { watched } from "../runtime/watch.ts";
import type { Choose } from "../kernel/plan.ts";
import { type Tuning, tuned } from "./tuning.ts";

interface Made {
  readonly fn: Fn;
  readonly by: Tuning | undefined;
  /** Of one that finds its weights packed: the kernel before it was scheduled, and who decides for it. */
  readonly ahead?: { readonly main: Fn; readonly choose: Choose };
}

export const groups = new WeakMap<Artifact, Made>();

/** The loops of a group as its kernel is made of them. */
export const lowered = (group: Fn): Fn => groupRules()?.lower(group) ?? lower(group);

/** The group that an artifact was made of. */
export const groupOf = (artifact: Artifact): Fn | undefined => groups.get(artifact)?.fn;

/** What it was tuned by. */
export const tuningOf = (artifact: Artifact): Tuning | undefined => groups.get(artifact)?.by;

const rendered = new Map<string, { readonly fn: Fn; readonly artifact: Artifact }[]>();

export function kernelFor(fn: Fn, hardware: HardwareModel): Artifact {
  const { name, cached } = codegenFor(hardware);
  const { by } = tuned;
  const key = JSON.stringify([hardware, name, fn.hash, by?.hash]);
  const list = rendered.get(key) ?? [];
  rendered.set(key, list);
  const known = list.find((entry) => fnEqual(entry.fn, fn));
  if (known) return known.artifact;
  const make = (): Artifact => render(fn, hardware, by?.chooser(fn, hardware));
  const artifact = watched("pass", `kernel ${fn.name}`, cached ? () => cached(fn, hardware, by?.hash, make) : make);
  list.push({ fn, artifact });
  groups.set(artifact, { fn, by });
  return artifact;
}

/** The kernel of a group under some choices.
 *  @throws ScheduleError for choices that make no schedule; what the code generator throws */
export function render(group: Fn, hardware: HardwareModel, choose: Choose | undefined): Artifact {
  const codegen = codegenFor(hardware);
  return codegen.level === "graph"
    ? codegen.render(group, hardware)
    : renderLoops(lowered(group), codegen, hardware, choose);
}

/** The same of a kernel that nobody has scheduled yet. */
export function renderLoops(
  kernel: Fn,
  codegen: Codegen,
  hardware: HardwareModel,
  choose: Choose | undefined,
): Artifact {
  const planned = scheduled(kernel, hardware, choose);
  return codegen.render(expandTranscendentals(codegen.share?.(planned, hardware) ?? planned), hardware);
}
