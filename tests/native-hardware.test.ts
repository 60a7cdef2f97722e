/** What the native tier takes a compiler's macros for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { topological } from "../core/src/ir/fn.ts";
import { lower } from "../core/src/kernel/lower.ts";
import { group, hardware } from "../core/src/kernel/kernel.fixture.ts";
import { exp } from "../core/src/ops/build.ts";
import { cCodegen } from "../south/cpu/src/native/render/codegen.ts";
import { nativeHardware } from "../south/cpu/src/native/toolchain/hardware.ts";

const of = (...names: readonly string[]) => nativeHardware(new Map(names.map((name) => [name, "1"])));
/** With values. */
const said = (macros: Readonly<Record<string, string>>, vectorBits?: number) => {
  const { lanes, flags } = nativeHardware(new Map(Object.entries(macros)), vectorBits);
  return [lanes, ...flags];
};
const avx2 = ["__x86_64__", "__SSE2__", "__AVX__", "__AVX2__", "__FMA__", "__F16C__"];

test("registers are those of the widest instructions that a compiler's macros name", () => {
  const plain = of("__x86_64__", "__SSE2__");
  assert.deepEqual([plain.lanes, plain.vectorRegisters, plain.features], [4, 16, ["sse2"]]);
  const haswell = of(...avx2);
  assert.deepEqual([haswell.lanes, haswell.vectorRegisters], [8, 16]);
  assert.ok(haswell.features.includes("fma") && haswell.features.includes("f16c"));
  const half = of(...avx2, "__AVX512F__");
  assert.equal(half.lanes, 8, "AVX-512 without masks for bytes and halves of registers is not used");
  const wide = of(...avx2, "__AVX512F__", "__AVX512BW__", "__AVX512DQ__", "__AVX512VL__", "__AVX512VNNI__");
  assert.deepEqual([wide.lanes, wide.vectorRegisters, wide.flags], [16, 32, ["-mprefer-vector-width=512"]]);
  assert.ok(wide.features.includes("avx512vnni"));
  const arm = of("__aarch64__", "__ARM_NEON", "__ARM_FEATURE_DOTPROD");
  assert.deepEqual([arm.lanes, arm.vectorRegisters, arm.features], [4, 32, ["fma", "neon", "dotprod"]]);
});

test("scalable vectors are taken at the length that they have", () => {
  const sve = {
    __aarch64__: "1",
    __ARM_NEON: "1",
    __ARM_FEATURE_SVE: "1",
    __ARM_FEATURE_SVE_BITS: "0",
    __GNUC__: "12",
  };
  const clang = { ...sve, __clang__: "1" };
  assert.deepEqual(said(sve, 128), [4]);
  assert.deepEqual(said(sve, 256), [8, "-msve-vector-bits=256"]);
  assert.deepEqual(said({ ...sve, __ARM_FEATURE_SVE_BITS: "256" }), [8]);
  assert.deepEqual(said(sve, 384), [4]);
  assert.deepEqual(said(sve, 512), [4], "GCC is not to be trusted with them");
  assert.deepEqual(said(clang, 512), [16, "-msve-vector-bits=512"]);
  const rvv = (bits: number) => ({ __riscv: "1", __riscv_vector: "1", __riscv_v_min_vlen: String(bits) });
  assert.deepEqual(said({ ...rvv(128), __GNUC__: "14" }), [4]);
  assert.deepEqual(said({ ...rvv(256), __clang__: "1" }), [8, "-mllvm", "-riscv-v-vector-bits-min=256"]);
  assert.deepEqual(said({ ...rvv(4096), __GNUC__: "14" }), [16]);
});

test("a GCC that leaves loops as they are is told to make vectors of them", () => {
  const arm = { __aarch64__: "1", __ARM_NEON: "1" };
  assert.deepEqual(said({ ...arm, __GNUC__: "11" }), [4, "-ftree-vectorize"]);
  assert.deepEqual(said({ ...arm, __GNUC__: "12" }), [4]);
  assert.deepEqual(said({ ...arm, __GNUC__: "4", __clang__: "1" }), [4]);
});

test("exp is scaled by one operation where the processor has it, and otherwise by two products", () => {
  const kernel = lower(group([["f32", [64]]], (x) => exp(x)));
  const opsFor = (...features: readonly string[]) => {
    const expanded = cCodegen.share?.(kernel, { ...hardware, features }) ?? kernel;
    return new Set(topological(expanded.results).map((n) => n.op));
  };
  assert.deepEqual(
    [["sse2"], ["fma"], ["fma", "avx512f"]].map((features) => {
      const ops = opsFor(...features);
      return [ops.has("exp"), ops.has("fma"), ops.has("scale"), ops.has("shr")];
    }),
    [
      [true, false, false, false],
      [false, true, false, true],
      [false, true, true, false],
    ],
  );
});
