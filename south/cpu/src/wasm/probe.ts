/** What this engine's WebAssembly takes beyond the first version, found by asking it to validate a small module. */

import { wasmModule } from "./assembler.ts";

export type WasmFeature = "simd" | "relaxedSimd" | "threads" | "bulkMemory";

const samples: { readonly [F in WasmFeature]: () => Uint8Array<ArrayBuffer> } = {
  simd() {
    const module = wasmModule();
    module.fn(["v128", "v128"], ["v128"], (f, a, b) => {
      f.get(a);
      f.get(b);
      f.op("f32x4.add");
    });
    return module.bytes();
  },

  relaxedSimd() {
    const module = wasmModule();
    module.fn(["v128", "v128", "v128"], ["v128"], (f, a, b, c) => {
      f.get(a);
      f.get(b);
      f.get(c);
      f.op("f32x4.relaxed_madd");
    });
    return module.bytes();
  },

  threads() {
    const module = wasmModule();
    module.memory({ min: 1, max: 1, shared: true });
    module.fn(["i32", "i32"], ["i32"], (f, address, count) => {
      f.get(address);
      f.get(count);
      f.op("memory.atomic.notify");
    });
    return module.bytes();
  },

  bulkMemory() {
    const module = wasmModule();
    module.memory({ min: 1 });
    module.fn(["i32", "i32", "i32"], [], (f, to, value, length) => {
      f.get(to);
      f.get(value);
      f.get(length);
      f.op("memory.fill");
    });
    return module.bytes();
  },
};

const found = new Map<WasmFeature, boolean>();

/** Whether the engine validates code that uses the feature; asked once per feature. For `threads` this says nothing of
 *  whether workers, or a shared memory in this page, can be had. */
export function probe(feature: WasmFeature): boolean {
  const known = found.get(feature);
  if (known !== undefined) return known;
  const answer = typeof WebAssembly === "object" && WebAssembly.validate(samples[feature]());
  found.set(feature, answer);
  return answer;
}
