/** Random functions on the native tier: the interpreter's bits where operations are exact, its values within bounds where they are not,
 *  and the same bits with 1, 2 and 5 threads. The bounds of single operations are those of docs/native.md, for each dtype. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { erf } from "../bench/src/accuracy/erf.ts";
import { evaluate } from "../core/src/interpreter/evaluate.ts";
import { type Value, valueOf } from "../core/src/interpreter/value.ts";
import { group } from "../core/src/kernel/kernel.fixture.ts";
import type { DType } from "../core/src/ir/dtype.ts";
import type { Fn } from "../core/src/ir/fn.ts";
import type { Node, Op } from "../core/src/ir/node.ts";
import { print } from "../core/src/ir/print.ts";
import { build } from "../core/src/ops/build.ts";
import { openStream } from "../core/src/runtime/devices.ts";
import { arbitrarySample, assertSameValues, everyDtype, type GraphOptions, type Sample } from "./arbitrary/graphs.ts";
import { exactOps, smoothOps, wholeGraphOps } from "./arbitrary/ops.ts";
import { noNative } from "./devices.ts";
import { magnitude, readsBitsOfNan, run } from "./pipeline.ts";

const skip = noNative ?? false;
const count = process.env["SINAN_TEST_DEVICES"] === "all" ? 120 : 20;
const drawn = (options: GraphOptions): Sample[] =>
  fc.sample(arbitrarySample(options), { seed: Number(process.env["SINAN_SEED"] ?? "1"), numRuns: count });

/** The samples' results; all kernels are built together. */
async function results(samples: readonly Sample[], threads: number): Promise<Value[][]> {
  const stream = await openStream("cpu:native", { options: { threads, grain: 1 } });
  assert.equal((await stream.opened()).hardware.tier, "native");
  return Promise.all(samples.map(({ fn, args }) => run(stream, fn, args)));
}

/** Their results with one thread, once others gave the same bits. */
async function agreed(samples: readonly Sample[]): Promise<Value[][]> {
  const one = await results(samples, 1);
  for (const threads of [2, 5])
    (await results(samples, threads)).forEach((values, i) => {
      assertSameValues(values, one[i] ?? [], () => `${threads} threads: ${print((samples[i] as Sample).fn)}`);
    });
  return one;
}

const exact: readonly (readonly [string, GraphOptions])[] = [
  [
    "exactly rounded graphs of every dtype",
    {
      dtypes: everyDtype,
      ops: exactOps,
      maxNodes: 14,
    },
  ],
  ["graphs of integers", { dtypes: ["i32", "u32", "i64", "i8", "u8", "u16", "i16"], ops: wholeGraphOps, maxNodes: 8 }],
  [
    "graphs with weights in blocks",
    { dtypes: ["f32", "i32"], blocks: ["q8_0", "q4_0", "q4_k"], ops: exactOps, maxNodes: 8 },
  ],
];

for (const [what, options] of exact)
  test(`${what} give the interpreter's bits`, { skip }, async () => {
    const samples = drawn(options).filter(({ fn, args }) => !readsBitsOfNan(fn, args));
    (await agreed(samples)).forEach((values, i) => {
      const { fn, args } = samples[i] as Sample;
      assertSameValues(values, evaluate(fn, args), () => print(fn));
    });
  });

test("smooth graphs give the interpreter's values", { skip }, async () => {
  const near = [...smoothOps, ...Array.from({ length: 6 }, () => "dot" as const)];
  const samples = [
    ...drawn({ dtypes: ["f32", "f64"], ops: smoothOps, maxNodes: 10 }),
    ...drawn({ dtypes: ["f32"], blocks: ["q8_0", "q4_0", "q4_k"], ops: near, maxNodes: 8 }),
  ].filter(({ fn, args }) => magnitude(fn, args) < 1e5);
  (await agreed(samples)).forEach((values, i) => {
    const { fn, args } = samples[i] as Sample;
    const scale = magnitude(fn, args);
    evaluate(fn, args, { exact: true }).forEach(({ data }, j) => {
      data.forEach((e: number | bigint, at: number) => {
        const a = Number(values[j]?.data[at]);
        assert.ok(Math.abs(a - Number(e)) <= 2e-5 * scale * scale, `${a} is not ${e}\n${print(fn)}`);
      });
    });
  });
});

const rational = ["neg", "abs", "sqrt", "floor", "round", "sign"] as const satisfies readonly Op[];
const functions = ["exp", "log", "sin", "cos", "tanh", "erf", "rsqrt"] as const satisfies readonly Op[];
const binary = ["add", "sub", "mul", "div", "max", "min"] as const satisfies readonly Op[];

/** Of the float dtypes: digits behind the first, the exponent of the least normal number, and errors that are allowed of functions. */
const floats = {
  f64: { digits: 52, least: -1022, most: 2 },
  f32: { digits: 23, least: -126, most: 2 },
  f16: { digits: 10, least: -14, most: 0.51 },
  bf16: { digits: 7, least: -126, most: 0.51 },
} as const satisfies Partial<Record<DType, object>>;

for (const [dtype, { digits, least, most }] of Object.entries(floats) as [
  keyof typeof floats,
  (typeof floats)[keyof typeof floats],
][])
  test(`operations of ${dtype} are within ${most} ulp of their meaning, and exact where IEEE 754 says so`, {
    skip,
  }, async () => {
    const n = 1009;
    const fn: Fn = group(
      [
        [dtype, [n]],
        [dtype, [n]],
      ],
      (x, y) => [
        ...[...rational, ...functions].map((op) => build(op, [x], {}) as Node),
        ...binary.map((op) => build(op, [x, y], {}) as Node),
      ],
    );
    const args = [1, 2].map((seed) =>
      valueOf(
        dtype,
        [n],
        Array.from({ length: n }, (_, i) => Math.sin(seed * i + 0.5) * 2 ** ((i % 13) - 6)),
      ),
    );
    const [got = []] = await agreed([{ fn, args }]);
    const wanted = evaluate(fn, args);
    const meant = evaluate(fn, args, { exact: true });
    [...rational, ...functions, ...binary].forEach((op, j) => {
      if (!(functions as readonly string[]).includes(op))
        return assertSameValues([got[j] as Value], [wanted[j] as Value], () => op);
      meant[j]?.data.forEach((e: number | bigint, i: number) => {
        const x = Number(args[0]?.data[i]);
        // The interpreter's erf is some units of the last place of a double off.
        const [y, value] = [Number(got[j]?.data[i]), op === "erf" ? erf(x) : Number(e)];
        if (Object.is(y, Number(wanted[j]?.data[i]))) return;
        const ulp = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(value))), least) - digits);
        const error = Math.abs(y - value) / ulp;
        assert.ok(error <= most, `${op}(${x}): ${y}, not ${value}: ${error} ulp`);
      });
      return undefined;
    });
  });
