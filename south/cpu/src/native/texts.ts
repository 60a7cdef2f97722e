/** The text of kernels, found again: who starts once more schedules and renders none of those that an earlier process made. What a kernel
 *  is made of is its group, the hardware, a tuning and the compiler's own sources; a text that is damaged or foreign counts as none, as all in the cache. */
import { type Artifact, type Codegen, print } from "sinan/south";
import { keyOf } from "./store/entries.ts";
import type { Noted, Store } from "./store/store.ts";

/** What `Codegen.cached` does, by a store. */
export class Texts {
  readonly #store: Store;
  /** Of the program that makes the texts; undefined where that is not known, and nothing is kept. */
  readonly #sources: string | undefined;
  #made: Noted[] = [];

  constructor(store: Store, sources: string | undefined) {
    this.#store = store;
    this.#sources = store.directory === undefined ? undefined : sources;
  }

  readonly cached: NonNullable<Codegen["cached"]> = (group, hardware, tuning, make) => {
    if (this.#sources === undefined) return make();
    const key = keyOf("text", this.#sources, hardware, tuning ?? "", print(group, false));
    const [found] = this.#store.find([key]);
    if (found) return JSON.parse(Buffer.from(found.bytes).toString("utf8")) as Artifact;
    const artifact = make();
    const name = group.name.replaceAll(/\W/g, "_").slice(0, 64) || "kernel";
    this.#made.push({ made: { name, key, extension: "json" }, bytes: Buffer.from(JSON.stringify(artifact)) });
    return artifact;
  };

  /** Keeps what was made since. */
  save(): void {
    const made = this.#made;
    this.#made = [];
    this.#store.note(made);
  }
}
