/** What the native tier takes a compiler's macros for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { topological } from "../core/src/ir/fn.ts";
import { lower } from "../core/src/kernel/lower.ts";
import { group, hardware } from "../core/src/kernel/kernel.fixture.ts";
import { exp } from "../core/src/ops/build.ts";
import { cCodegen } from "../south/cpu/src/native/codegen.ts";
import { nativeHardware } from "../south/cpu/src/native/hardware.ts";

const of = (...names: readonly string[]) => nativeHardware(new Map(names.map((name) => [name, "1"])));
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
