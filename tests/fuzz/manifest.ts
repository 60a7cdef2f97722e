/** A checkpoint's `manifest.json`, with its own hash right or wrong, and the whole checkpoint that it is the manifest of. */
import assert from "node:assert/strict";
import { loadCheckpoint, memoryFiles, openCheckpoints, parseJson, sha256Hex } from "sinan";
import type { Format } from "./format.ts";
import { damagedBytes, damagedJson } from "./mutate.ts";

const files = memoryFiles();
const checkpoints = await openCheckpoints(files, "run", { onWarning: () => undefined });
const data = new Uint8Array(24).fill(3);
const folder = await checkpoints.save({
  step: 40,
  tensors: { model: { weight: { dtype: "f32", shape: [2, 3], data } } },
  documents: { config: { layers: 2 } },
  blobs: { "notes.txt": "hello" },
  meta: { seed: 1 },
});
await checkpoints.close();
const place = `${folder}/manifest.json`;
const valid = await files.read(place);
const manifest = parseJson(new TextDecoder().decode(valid), place);

/** The text with the hash that it should have: the last of 64 digits. */
function signed(text: string): string {
  const [before, , after] = /^([^]*")([0-9a-f]{64})("[^"]*)$/.exec(text)?.slice(1) ?? [];
  if (before === undefined || after === undefined) return text;
  return before + sha256Hex(new TextEncoder().encode(`${before}${"0".repeat(64)}${after}`)) + after;
}

export const format: Format = {
  input(random) {
    if (random.once(4)) return damagedBytes(valid, random);
    const text = damagedJson(manifest, random);
    return new TextEncoder().encode(random.once(4) ? text : signed(text));
  },
  async read(bytes) {
    await files.write(place, [bytes]);
    const found = await loadCheckpoint(files, folder, { onWarning: () => undefined });
    // What is loaded all the same is what was saved.
    const weight = found.tensors["model"]?.get("weight");
    if (weight !== undefined) assert.deepEqual(Uint8Array.from(weight.data), data);
  },
};
