/** From a fusion group to an artifact, once for each structure and hardware. */
import { type Fn, fnEqual } from "../ir/fn.ts";
import { expandTranscendentals, lower, scheduled } from "../kernel/index.ts";
import type { Artifact, Codegen } from "../runtime/driver.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { codegenFor } from "../runtime/registry.ts";
import { watched } from "../runtime/watch.ts";

const groups = new WeakMap<Artifact, Fn>();

/** The group that an artifact was made of. */
export const groupOf = (artifact: Artifact): Fn | undefined => groups.get(artifact);

const rendered = new Map<string, { readonly fn: Fn; readonly artifact: Artifact }[]>();

export function kernelFor(fn: Fn, hardware: HardwareModel): Artifact {
  const codegen = codegenFor(hardware);
  const key = `${hardware.id} ${hardware.features.join(",")} ${hardware.sharedMemory === true} ${codegen.name} ${fn.hash}`;
  const list = rendered.get(key) ?? [];
  rendered.set(key, list);
  const known = list.find((entry) => fnEqual(entry.fn, fn));
  if (known) return known.artifact;
  const artifact = watched("pass", `kernel ${fn.name}`, () =>
    codegen.render(codegen.level === "graph" ? fn : loops(fn, codegen, hardware), hardware),
  );
  list.push({ fn, artifact });
  groups.set(artifact, fn);
  return artifact;
}

function loops(group: Fn, { share }: Codegen, hardware: HardwareModel): Fn {
  const planned = scheduled(lower(group), hardware);
  return expandTranscendentals(share ? share(planned) : planned);
}
