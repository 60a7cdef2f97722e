/** What this engine's WebAssembly takes beyond the first version, found by asking it to validate a small module. */

import { wasmModule } from "./assembler.ts";

/** Makes a module that is valid where the engine takes a feature. */
type Sample = () => Uint8Array<ArrayBuffer>;

export const simd: Sample = () => {
  const module = wasmModule();
  module.fn(["v128", "v128"], ["v128"], (f, a, b) => {
    f.get(a);
    f.get(b);
    f.op("f32x4.add");
  });
  return module.bytes();
};

export const relaxedSimd: Sample = () => {
  const module = wasmModule();
  module.fn(["v128", "v128", "v128"], ["v128"], (f, a, b, c) => {
    f.get(a);
    f.get(b);
    f.get(c);
    f.op("f32x4.relaxed_madd");
  });
  return module.bytes();
};

export const threads: Sample = () => {
  const module = wasmModule();
  module.importMemory("env", "memory", { min: 1, max: 1, shared: true });
  module.fn(["i32", "i32"], ["i32"], (f, address, count) => {
    f.get(address);
    f.get(count);
    f.op("memory.atomic.notify");
  });
  return module.bytes();
};

export const bulkMemory: Sample = () => {
  const module = wasmModule();
  module.importMemory("env", "memory", { min: 1 });
  module.fn(["i32", "i32", "i32"], [], (f, to, value, length) => {
    f.get(to);
    f.get(value);
    f.get(length);
    f.op("memory.fill");
  });
  return module.bytes();
};

export const multiMemory: Sample = () => {
  const module = wasmModule();
  module.importMemory("env", "memory", { min: 1 });
  const second = module.importMemory("env", "memory1", { min: 1 });
  module.fn(["i32"], ["i32"], (f, address) => {
    f.get(address);
    f.op("i32.load", 0, 4, second);
  });
  return module.bytes();
};

const found = new Map<Sample, boolean>();

/** Whether the engine validates code that uses the feature; asked once per feature. For `threads` this says nothing of
 *  whether workers, or a shared memory in this page, can be had. */
export function probe(sample: Sample): boolean {
  const known = found.get(sample);
  if (known !== undefined) return known;
  const answer = typeof WebAssembly === "object" && WebAssembly.validate(sample());
  found.set(sample, answer);
  return answer;
}

let fused: boolean | undefined;

/** Whether relaxed_madd rounds once on this processor. The specification leaves that open, and it decides bits, so it belongs
 *  to a numeric plan. With a = 1 + 2⁻¹², a² − (1 + 2⁻¹¹) is 2⁻²⁴ if it is rounded once and 0 if twice. */
export function fusesMadd(): boolean {
  if (fused !== undefined) return fused;
  fused = false;
  if (!probe(relaxedSimd)) return fused;
  const module = wasmModule();
  module.fn(
    ["f32", "f32"],
    ["f32"],
    (f, a, c) => {
      for (const operand of [a, a, c]) {
        f.get(operand);
        f.op("f32x4.splat");
      }
      f.op("f32x4.relaxed_madd");
      f.op("f32x4.extract_lane", 0);
    },
    { export: "madd" },
  );
  const { madd } = new WebAssembly.Instance(new WebAssembly.Module(module.bytes())).exports;
  if (typeof madd === "function") fused = madd(1 + 2 ** -12, -(1 + 2 ** -11)) === 2 ** -24;
  return fused;
}
