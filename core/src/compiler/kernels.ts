/** From a fusion group to an artifact, once for each structure and hardware. */
import { type Fn, fnEqual } from "../ir/fn.ts";
import { expandTranscendentals, lower, scheduled, shareLoops } from "../kernel/index.ts";
import type { Artifact } from "../runtime/driver.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { codegenFor } from "../runtime/registry.ts";

const rendered = new Map<string, { readonly fn: Fn; readonly artifact: Artifact }[]>();

export function kernelFor(fn: Fn, hardware: HardwareModel): Artifact {
  const codegen = codegenFor(hardware);
  const key = `${hardware.id} ${hardware.features.join(",")} ${hardware.sharedMemory === true} ${codegen.name} ${fn.hash}`;
  const list = rendered.get(key) ?? [];
  rendered.set(key, list);
  const known = list.find((entry) => fnEqual(entry.fn, fn));
  if (known) return known.artifact;
  const artifact = codegen.render(codegen.level === "graph" ? fn : loops(fn, hardware), hardware);
  list.push({ fn, artifact });
  return artifact;
}

function loops(group: Fn, hardware: HardwareModel): Fn {
  const planned = scheduled(lower(group), hardware);
  return expandTranscendentals(hardware.sharedMemory ? shareLoops(planned) : planned);
}
