/** Loads kernels of the native tier. What is asked for in one turn is built together, as a few translation units of about equal length, so
 *  that a program's kernels are built side by side and found again in a few files. */

import { type Artifact, type Building, DeviceError, type Executable } from "sinan/south";
import { type NativePart, NativeExecutable } from "./executable.ts";
import { codeOf, type NativeCode } from "./render/codegen.ts";
import { nativeUnit } from "./render/render.ts";

/** A shared object in the process. */
export interface Opened {
  /** @throws DeviceError if it has none of that name */
  symbol(name: string): number;
}

/** Builds units and opens them, in order. */
export type Builder = (
  units: readonly { readonly name: string; readonly text: string }[],
  onProgress: (building: Building) => void,
) => Promise<readonly Opened[]>;

interface Wanted {
  readonly name: string;
  readonly code: NativeCode;
  readonly resolve: (executable: Executable) => void;
  readonly reject: (cause: unknown) => void;
}

/** Characters of C that a unit has at least, where there is more than one: a compiler takes some hundredths of a second to begin. */
const leastText = 30_000;

export class NativeKernels {
  readonly #build: Builder;
  readonly #units: number;
  readonly #failed: (cause: unknown) => void;
  tell: ((building: Building) => void) | undefined;
  #wanted: Wanted[] = [];

  /** @param units  about how many a large program is built as: some for each core, so that progress shows and cores end together
   *  @param failed  called with why units were not built, before those who wait for them hear of it */
  constructor(build: Builder, units: number, failed: (cause: unknown) => void) {
    this.#build = build;
    this.#units = units;
    this.#failed = failed;
  }

  /** @throws DeviceError (as a rejection) if the artifact is none of this tier, or was not built */
  async load(artifact: Artifact): Promise<Executable> {
    const code = codeOf(artifact);
    return new Promise((resolve, reject) => {
      if (this.#wanted.push({ name: artifact.name, code, resolve, reject }) === 1) setTimeout(() => void this.#flush());
    });
  }

  async #flush(): Promise<void> {
    const all = this.#wanted;
    this.#wanted = [];
    const groups = grouped(all, this.#units);
    const units = groups.map((group) => ({
      name: group.length === 1 ? (group[0] as Wanted).name : `${group.length} kernels`,
      text: nativeUnit(group.map(({ code }) => code.kernel)),
    }));
    try {
      const opened = await this.#build(units, (building) => this.tell?.(building));
      groups.forEach((group, i) => {
        const object = opened[i];
        if (!object) throw new DeviceError(`cpu: unit ${i} of ${units.length} was not built`);
        for (const { name, code, resolve } of group) resolve(executableOf(name, code, object));
      });
    } catch (cause) {
      this.#failed(cause);
      for (const { reject } of all) reject(cause);
    }
  }
}

function executableOf(name: string, { kernel, buffers, scalars }: NativeCode, object: Opened): NativeExecutable {
  const parts = kernel.parts.map(
    ({ symbol, extent, work }): NativePart => ({ address: object.symbol(symbol), extent, work }),
  );
  return new NativeExecutable(name, parts, buffers, scalars);
}

/** In order, cut where a group has its share of the text. */
function grouped(all: readonly Wanted[], units: number): Wanted[][] {
  const lengths = all.map(({ code }) => code.kernel.functions.length);
  const total = lengths.reduce((sum, n) => sum + n, 0);
  const share = Math.max(leastText, total / units);
  const groups: Wanted[][] = [];
  let length = share;
  all.forEach((wanted, i) => {
    if (length >= share) {
      groups.push([]);
      length = 0;
    }
    (groups.at(-1) as Wanted[]).push(wanted);
    length += lengths[i] as number;
  });
  return groups;
}
