/** Safetensors: the length, the header's JSON, the tensors' bytes. What a reader gives must lie inside of the file. */
import assert from "node:assert/strict";
import { openSafetensors, readSafetensors, type StoredDType, storedBytes, writeSafetensors } from "sinan";
import type { Format } from "./format.ts";
import { damagedBytes, damagedJson } from "./mutate.ts";

const dtypes: readonly StoredDType[] = ["f32", "bf16", "i64", "u8", "bool", "f8e4m3"];
const tensors = Object.fromEntries(
  dtypes.map((dtype, i) => [
    `layer.${i}.weight`,
    { dtype, shape: [i, 3], data: new Uint8Array(3 * i * storedBytes(dtype)).fill(1) },
  ]),
);
const valid = writeSafetensors(tensors, { format: "pt" });
const headerBytes = new DataView(valid.buffer).getUint32(0, true);
const header: unknown = JSON.parse(new TextDecoder().decode(valid.subarray(8, 8 + headerBytes)));

export const format: Format = {
  input(random) {
    if (random.once(3)) return damagedBytes(valid, random);
    const text = new TextEncoder().encode(damagedJson(header, random));
    const data = valid.subarray(8 + headerBytes);
    const file = new Uint8Array(8 + text.length + data.length);
    new DataView(file.buffer).setUint32(0, text.length, true);
    file.set(text, 8);
    file.set(data, 8 + text.length);
    return random.once(8) ? damagedBytes(file, random) : file;
  },
  async read(bytes) {
    let sum = 0;
    const { tensors: views } = readSafetensors(bytes);
    for (const { dtype, shape, data } of views.values()) {
      const elements = shape.reduce((product, size) => product * size, 1);
      assert.equal(data.length, elements * storedBytes(dtype), "bytes of a tensor");
      assert.ok(
        data.byteOffset >= bytes.byteOffset && data.byteOffset + data.length <= bytes.byteOffset + bytes.length,
      );
      for (const byte of data) sum += byte;
    }
    const read = (offset: number, length: number): Promise<Uint8Array> => {
      assert.ok(offset >= 0 && length >= 0 && offset + length <= bytes.length, "a read inside of the file");
      return Promise.resolve(bytes.slice(offset, offset + length));
    };
    const lazy = await openSafetensors({ size: bytes.length, read });
    for (const name of lazy.tensors.keys()) for (const byte of (await lazy.tensor(name)).data) sum -= byte;
    assert.equal(sum, 0, "both readers give the same");
  },
};
