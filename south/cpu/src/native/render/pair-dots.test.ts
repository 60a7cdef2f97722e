/** Products of two bf16 in C, by each kind of instruction that this processor has and without any, against two fused multiply-adds. */
import { arch } from "node:os";
import { test } from "node:test";
import { assertNothingWrong, helpers, noCompiler } from "./counted.fixture.ts";

const machines = arch() === "x64" ? ["-march=native", "-march=native -mno-avx512bf16", "-march=x86-64"] : [];

/** A program that counts what is wrong with vectors of so many lanes. */
function program(lanes: number): string {
  return `${helpers(["dot2"], "f32", lanes, () => "fmaf")}
static unsigned state = 1;
static unsigned next(void) { return (state = state * 1664525u + 1013904223u) >> 8; }
static uint16_t near1(void) { return (next() & 0x807f) | ((120 + next() % 14) << 7); }
static float value(uint16_t a) { uint32_t bits = (uint32_t)a << 16; float y; memcpy(&y, &bits, 4); return y; }
int main(void) {
  int bad = 0;
  for (int round = 0; round < 2000; round++) {
    uint16_t a[${2 * lanes}], b[${2 * lanes}];
    float c[${lanes}];
    for (int i = 0; i < ${2 * lanes}; i++) a[i] = near1(), b[i] = near1();
    for (int i = 0; i < ${lanes}; i++) c[i] = ldexpf((float)next(), -28) - 0.03f;
    i32x${lanes} x, y;
    f32x${lanes} z;
    memcpy(&x, a, sizeof x), memcpy(&y, b, sizeof y), memcpy(&z, c, sizeof z);
    z = dot2_v(z, x, y);
    for (int i = 0; i < ${lanes}; i++)
      bad += z[i] != fmaf(value(a[2 * i]), value(b[2 * i]), fmaf(value(a[2 * i + 1]), value(b[2 * i + 1]), c[i]));
  }
  printf("%d", bad);
  return 0;
}
`;
}

for (const machine of machines)
  test(`pairs ${machine}`, { skip: noCompiler }, () => assertNothingWrong(machine, "-ffp-contract=off", program));
