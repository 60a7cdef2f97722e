/** Products of bf16 in C: two of each lane are added to its f32, by one instruction of AVX512-BF16 or of NEON's bf16, and by two fused
 *  multiply-adds elsewhere.
 *
 *  AVX512-BF16's is two fused multiply-adds, the second half's first, that take denormals for zeros, of what they are given and of what
 *  they give. NEON's adds the two products, then their sum, both rounded to odd, with denormals likewise. */
import type { Needs } from "sinan/south";
import { chosen } from "./lane-text.ts";

/** x86 names its vectors by their bits. */
const x86: Readonly<Record<number, readonly [prefix: string, type: string]>> = {
  16: ["_mm512", "__m512"],
  8: ["_mm256", "__m256"],
  4: ["_mm", "__m128"],
};

/** The definition of `dot2`, of words. */
export function pairHelper(name: string, lanes: number, needs: Needs): string {
  const [sum, words] = [needs.type("f32", lanes), needs.type("i32", lanes)];
  const define = (body: string): string => `SINAN_LANES ${sum} ${name}(${sum} a, ${words} x, ${words} y) { ${body} }`;
  const choices: (readonly [string, string])[] = [];
  const names = x86[lanes];
  if (names) {
    const [prefix, type] = names;
    const call = `return (${sum})${prefix}_dpbf16_ps((${type})a, (${type}bh)x, (${type}bh)y);`;
    const vl = lanes === 16 ? "" : " && defined(__AVX512VL__)";
    choices.push([`defined(__AVX512BF16__)${vl}`, `#include <immintrin.h>\n${define(call)}`]);
  }
  if (lanes === 4) {
    const call = `return (${sum})vbfdotq_f32((float32x4_t)a, vreinterpretq_bf16_s32((int32x4_t)x), vreinterpretq_bf16_s32((int32x4_t)y));`;
    choices.push(["defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)", `#include <arm_neon.h>\n${define(call)}`]);
  }
  const fma = needs.vector("fma", "f32", "f32", lanes);
  const low = (v: string): string => `(${sum})(${v} << 16)`;
  const high = (v: string): string => `(${sum})(${v} & -65536)`;
  const plain = `return ${fma}(${low("x")}, ${low("y")}, ${fma}(${high("x")}, ${high("y")}, a));`;
  return chosen(choices, define(plain));
}
