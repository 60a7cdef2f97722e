/** Products of bytes in C, by each kind of instruction that this processor has and without any, against sums in plain C. */
import { arch } from "node:os";
import { test } from "node:test";
import { assertNothingWrong, helpers, noCompiler } from "./counted.fixture.ts";

const machines =
  arch() === "x64" ? ["-march=native", "-march=native -mno-avx512vnni -mno-avxvnni", "-march=x86-64"] : [""];
const ops = ["dot4_us", "dot4_ls", "dot4_ss", "dot4_uu", "spread4", "rows4", "turn4", "zip4"] as const;

/** A program that counts what is wrong with vectors of so many lanes. */
function program(lanes: number): string {
  const [bytes, words] = [`u8x${4 * lanes}`, `i32x${lanes}`];
  return `${helpers(ops, "i32", lanes)}
static unsigned state = 1;
static uint8_t next(void) {
  state = state * 1664525u + 1013904223u;
  return (state >> 16) % 3 ? state >> 24 : (state >> 20) & 1 ? 255 : (state >> 21) & 1 ? 127 : 128;
}
int main(void) {
  int bad = 0;
  for (int round = 0; round < 500; round++) {
    uint8_t a[${4 * lanes}], b[${4 * lanes}];
    int32_t c[${lanes}];
    for (int i = 0; i < ${4 * lanes}; i++) a[i] = next(), b[i] = next();
    for (int i = 0; i < ${lanes}; i++) c[i] = (int32_t)(state * (i + 77u));
    ${bytes} x, y;
    ${words} z;
    memcpy(&x, a, sizeof x), memcpy(&y, b, sizeof y), memcpy(&z, c, sizeof z);
    const ${words} us = dot4_us_v(z, x, y), ss = dot4_ss_v(z, x, y), uu = dot4_uu_v(z, x, y), ls = dot4_ls_v(z, x & 127, y);
    for (int i = 0; i < ${lanes}; i++) {
      uint32_t p = c[i], q = c[i], r = c[i], l = c[i];
      for (int j = 4 * i; j < 4 * i + 4; j++) l += (a[j] & 127) * (int8_t)b[j], p += a[j] * (int8_t)b[j], q += (int8_t)a[j] * (int8_t)b[j], r += a[j] * b[j];
      bad += us[i] != (int32_t)p || ss[i] != (int32_t)q || uu[i] != (int32_t)r || ls[i] != (int32_t)l;
    }
  }
  uint8_t m[16 * 64];
  for (int i = 0; i < 1024; i++) m[i] = i * 7 + i / 64;
  ${bytes} turned[4];
  turn4_v(turned, m, 64);
  const ${bytes} rows = rows4_v(m + 1, 64), zipped = zip4_v(m + 3, 64), spread = spread4_v(m + 5);
  for (int i = 0; i < ${4 * lanes}; i++) {
    for (int j = 0; j < 4; j++) bad += turned[j][i] != m[i / 4 * 64 + 4 * j + i % 4];
    bad += rows[i] != m[1 + i / 4 * 64 + i % 4] || zipped[i] != m[3 + i % 4 * 64 + i / 4] || spread[i] != m[5 + i % 4];
  }
  printf("%d", bad);
  return 0;
}
`;
}

for (const machine of machines)
  test(`bytes ${machine}`, { skip: noCompiler }, () => assertNothingWrong(machine, "-fwrapv", program));
