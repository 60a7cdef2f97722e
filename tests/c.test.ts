/** The loop level rendered as C and compiled with the system's compiler: the same schedules as the WebAssembly tier's, the
 *  interpreter's values, and WebAssembly's bits. Skipped where there is no C compiler. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compile } from "../core/src/compiler/compile.ts";
import { evaluate } from "../core/src/interpreter/evaluate.ts";
import { decode, encode, type Value, valueOf } from "../core/src/interpreter/value.ts";
import type { DType } from "../core/src/ir/dtype.ts";
import type { Fn } from "../core/src/ir/fn.ts";
import { parse } from "../core/src/ir/parse.ts";
import { dimsOf, dtypeOf, type Node, type Op } from "../core/src/ir/node.ts";
import { print } from "../core/src/ir/print.ts";
import { arbitraryGroup, randomSchedule } from "../core/src/kernel/arbitrary.fixture.ts";
import { group, sample } from "../core/src/kernel/kernel.fixture.ts";
import { lower } from "../core/src/kernel/lower.ts";
import { applySchedule } from "../core/src/kernel/schedule.ts";
import { wideTiles } from "../core/src/kernel/products/wide-tile.ts";
import { attention } from "../core/src/ops/attention.ts";
import { cast, dot, mul } from "../core/src/ops/build.ts";
import { conv } from "../core/src/ops/convolution.ts";
import { openStream } from "../core/src/runtime/devices.ts";
import type { HardwareModel } from "../core/src/runtime/hardware.ts";
import { register } from "../core/src/runtime/registry.ts";
import { arbitrarySample, assertSameValues, everyDtype, type Sample } from "./arbitrary/graphs.ts";
import { controlOps, exactOps, smoothOps, wholeGraphOps } from "./arbitrary/ops.ts";
import { compiler, functionsOf, keepKernels, kernelPlan, runPlans } from "./c-plans.ts";
import { magnitude, readsBitsOfNan, run } from "./pipeline.ts";

const skip = compiler === undefined ? "there is no C compiler (cc, gcc, clang, or the one that CC names)" : false;
/** One seed for the samples: they are compiled together. */
const seed = 20_261_126;

/** Loops and choices are for the host, which these programs have none of. */
const isPlanned = (op: Op): boolean => !(controlOps as readonly Op[]).includes(op);

register({ codegen: keepKernels });
wideTiles();
const stream = await openStream("cpu");
const { hardware } = await stream.opened();
const fused = hardware.features.includes("fused-madd");

const typed = (fn: Fn, outputs: readonly Uint8Array[]): Value[] =>
  outputs.map((bytes, j) => decode(dtypeOf(fn.results[j] as Node), bytes, dimsOf(fn.results[j] as Node) as number[]));

/** How the lanes of a sample are rendered: written out, and as vectors of so many floats. */
const renderingsOf = (i: number): readonly number[] => [1, [4, 16, 8][i % 3] as number];

const ofLanes = (lanes: number): HardwareModel => ({
  ...hardware,
  id: `c-${lanes}`,
  codegens: [keepKernels.name],
  compute: hardware.compute.map((u) => ({ ...u, lanes: (u.lanes * Math.max(lanes, 4)) / 4 })),
  limits: { ...hardware.limits, vectorRegisters: lanes === 16 ? 32 : 16 },
});

/** The samples' results in each rendering, all compiled with the schedules for it into one C program. */
function inC(samples: readonly Sample[]): Value[][][] {
  const cases = samples.flatMap(({ fn, args }, i) => {
    const inputs = args.map((v, j) => ("space" in (fn.params[j] as Node).type ? Number(v.data[0]) : encode(v)));
    const outputBytes = evaluate(fn, args).map((v) => encode(v).length);
    return renderingsOf(i).map((lanes) => ({ plan: compile(fn, ofLanes(lanes)), lanes, inputs, outputBytes }));
  });
  const outputs = runPlans(cases, fused);
  return samples.map(({ fn }, i) => [0, 1].map((j) => typed(fn, outputs[2 * i + j] as Uint8Array[])));
}

/** Compares what each rendering of a sample gave. */
function assertSame(sample: Sample, got: readonly Value[][], expected: readonly Value[]): void {
  got.forEach((values, j) => {
    assertSameValues(values, expected, () => `${j === 0 ? "written out" : "vectors"}: ${print(sample.fn)}`);
  });
}

const samplesOf = (dtypes: readonly DType[], ops: readonly Op[], count: number): Sample[] =>
  fc.sample(arbitrarySample({ dtypes, ops, maxNodes: 14 }), { seed, numRuns: count });

test("exactly rounded graphs give the interpreter's bits in C", { skip }, () => {
  const samples = samplesOf(everyDtype, exactOps, 90).filter(({ fn, args }) => !readsBitsOfNan(fn, args));
  inC(samples).forEach((got, i) => {
    const sample = samples[i] as Sample;
    assertSame(sample, got, evaluate(sample.fn, sample.args));
  });
});

test("graphs of integers give the interpreter's bits in C", { skip }, () => {
  const samples = samplesOf(["i32", "u32", "i64", "i8", "u8", "u16", "i16"], wholeGraphOps.filter(isPlanned), 54);
  inC(samples).forEach((got, i) => {
    const sample = samples[i] as Sample;
    assertSame(sample, got, evaluate(sample.fn, sample.args));
  });
});

test("sums, products and transcendental functions of f32 have WebAssembly's bits in C", { skip }, async () => {
  const samples = samplesOf(["f32"], smoothOps.filter(isPlanned), 36).filter(
    ({ fn, args }) => magnitude(fn, args) < 1e5,
  );
  const all = inC(samples);
  for (const [i, sample] of samples.entries())
    assertSame(sample, all[i] as Value[][], await run(stream, sample.fn, sample.args));
});

test("a packed product takes its roundings as WebAssembly does", { skip }, async () => {
  const fn = parse(`fn @product(%0 "x": f32[37, 67], %1 "w": f32[67, 43], %2 "b": f32[1, 43]) {
    %3 = dot(%0, %1) {batch: [[], []], contract: [[1], [0]]} : f32[37, 43]
    %4 = expand(%2) {dims: [37, 43]} : f32[37, 43]
    %5 = add(%3, %4) : f32[37, 43]
    return %5
  }`);
  const args = fn.params.map((p, i) => {
    const dims = dimsOf(p) as number[];
    const count = dims.reduce((n, d) => n * d, 1);
    return valueOf(
      "f32",
      dims,
      Array.from({ length: count }, (_, at) => Math.fround(Math.sin(7 * at + i))),
    );
  });
  const [got] = inC([{ fn, args }]);
  assertSame({ fn, args }, got ?? [], await run(stream, fn, args));
});

test("products of every layout take their roundings as WebAssembly does", { skip }, async () => {
  // Matrix × vector, few rows, several tiles of rows and columns, each with what is left over; renderings take turns.
  const shapes = [0, 1, 2].flatMap((layout) =>
    [
      [1, 37, 48],
      [3, 33, 32],
      [5, 50, 16],
      [31, 70, 64],
      [40, 100, 33],
      // Long enough that memory is asked for ahead.
      [1, 300, 640],
    ].map(([m, n, k]) => [m, n, k, layout] as [number, number, number, number]),
  );
  const samples = shapes.map(([m, n, k, layout]) => {
    const dims = [layout === 2 ? [k, m] : [m, k], layout === 1 ? [n, k] : [k, n]];
    const fn = group(
      dims.map((d) => ["f32", d] as const),
      (a, b) => dot(a, b, { contract: [[layout === 2 ? 0 : 1], [layout === 1 ? 1 : 0]], batch: [[], []] }),
    );
    const numbers = (count: number, i: number): number[] =>
      Array.from({ length: count }, (_, at) => Math.fround(Math.sin(7 * at + i)));
    return { fn, args: dims.map((d, i) => valueOf("f32", d, numbers((d[0] as number) * (d[1] as number), i))) };
  });
  const all = inC(samples);
  for (const [i, given] of samples.entries())
    assertSame(given, all[i] as Value[][], await run(stream, given.fn, given.args));
});

test("memory is asked for ahead where it is read once", () => {
  const textOf = (m: number, layout: 0 | 1): string => {
    const dims = [[m, 640], layout === 1 ? [300, 640] : [640, 300]];
    const fn = group(
      dims.map((d) => ["f32", d] as const),
      (a, b) => dot(a, b, { contract: [[1], [layout]], batch: [[], []] }),
    );
    return functionsOf(compile(fn, ofLanes(16)), 16);
  };
  // 512 bytes ahead in each of sixteen rows; as many vectors, of rows of 300 floats, under each other. The last
  // ones are for the next tile: fifteen rows further, or back at the first row.
  assert.match(textOf(1, 1), /__builtin_prefetch\(.* \+ \(r\d+ < 32 \? 128 : 9728\), 0, 0\);/);
  assert.match(textOf(1, 0), /__builtin_prefetch\(.* \+ \(r\d+ < 632 \? 2400 : -\d+\), 0, 0\);/);
  // Four tiles of rows read the columns in turn: only where their results go is asked for.
  const tiles = textOf(24, 0).match(/__builtin_prefetch\(.*\);/g) ?? [];
  assert.ok(tiles.length > 0);
  for (const line of tiles) assert.match(line, /, 1\);$/);
});

test("what a short loop over a window reads is loaded once, where registers are few", () => {
  const fn = group(
    [
      ["f32", [2, 1, 8, 34, 34]],
      ["f32", [1, 16, 8, 3, 3]],
    ],
    (x, w) => conv(x, w, { strides: [1, 1], dilations: [1, 1] }),
  );
  const text = functionsOf(compile(fn, ofLanes(8)), 8);
  const loaded = [...text.matchAll(/^ *f32x8 (v\d+) = \(f32x8\)\*.*; SINAN_KEPT\((v\d+)\);$/gm)];
  assert.ok(loaded.length >= 2);
  for (const [, vector, kept] of loaded) assert.equal(vector, kept);
  // Outside of such loops compilers may read memory when they like.
  assert.match(
    functionsOf(
      compile(
        group([["f32", [64]]], (x) => mul(x, x)),
        ofLanes(8),
      ),
      8,
    ),
    /const f32x8 v\d+ = \(f32x8\)\*/,
  );
});

test("narrow weights are asked for in the order in which they lie", () => {
  const textOf = (lanes: number): string => {
    const fn = group(
      [
        ["f32", [1, 1024]],
        ["bf16", [4096, 1024]],
      ],
      (x, w) => dot(x, cast(w, "f32"), { contract: [[1], [1]], batch: [[], []] }),
    );
    return functionsOf(compile(fn, ofLanes(lanes)), lanes);
  };
  // 8 KiB ahead, each line once.
  assert.match(textOf(16), /__builtin_prefetch\(p\d+ \+ 0 \+ 4096, 0, 0\);/);
  // Of two rows at a time, in both what lies behind each other.
  const both = [...textOf(8).matchAll(/__builtin_prefetch\(p(\d+) \+ (\d+) \+ 4096\);/g)].map(([, p, at]) => [p, at]);
  assert.deepEqual(both, [
    ["15", "0"],
    ["15", "8"],
  ]);
  assert.match(textOf(8), /\*p12 = p7 \+ r8 \* 1024;[^]*\*p13 = p12 \+ r9 \* 64;/);
});

test("blocks of memory that are turned in registers give the interpreter's bits in C", { skip }, () => {
  // Three of each: the lanes are 4, 16 and 8.
  const samples = (["f32", "i32", "bf16", "f64"] as const).flatMap((dtype) =>
    [0, 1, 2].map((): Sample => {
      const fn = parse(`fn @turned(%0 "x": ${dtype}[3, 48, 32]) {
        %1 = permute(%0) {axes: [0, 2, 1]} : ${dtype}[3, 32, 48]
        %2 = add(%1, %1) : ${dtype}[3, 32, 48]
        return %2
      }`);
      return { fn, args: [sample(dtype, [3, 48, 32], 1)] };
    }),
  );
  inC(samples).forEach((got, i) => {
    const one = samples[i] as Sample;
    assertSame(one, got, evaluate(one.fn, one.args));
  });
});

test("attention whose loops begin and end by numbers in memory has WebAssembly's bits in C", { skip }, async () => {
  const fn = group(
    [
      ["f32", [4, 4, 5, 8]],
      ["f32", [4, 2, 140, 8]],
      ["f32", [4, 2, 140, 8]],
      ["i32", [4]],
      ["i32", [4, 5]],
    ],
    (q, k, v, lengths, starts) =>
      attention({ q, k, v, mask: undefined, lengths, starts }, { causal: true, scale: 0.125 }),
  );
  const inputs = fn.params.slice(0, 3).map((p, i) => sample("f32", dimsOf(p), i));
  const starts = Array.from({ length: 20 }, (_, i) => (i * i) % 70);
  const args = [...inputs, valueOf("i32", [4], [0, 3, 65, 141]), valueOf("i32", [4, 5], starts)];
  const [got] = inC([{ fn, args }]);
  assertSame({ fn, args }, got ?? [], await run(stream, fn, args));
});

test("any legal schedule gives the interpreter's result in C", { skip }, () => {
  const pairs = fc.sample(fc.tuple(arbitraryGroup, fc.array(fc.nat(10_000), { minLength: 4, maxLength: 20 })), {
    seed,
    numRuns: 90,
  });
  const made = pairs.map(([fn, numbers]) => {
    const kernel = lower(fn);
    const options = randomSchedule(kernel, numbers);
    const args = fn.params.map((p, i) => sample(dtypeOf(p), dimsOf(p), i));
    return { fn, args, options, plan: kernelPlan(applySchedule(kernel, options)) };
  });
  assert.ok(made.reduce((n, { options }) => n + options.length, 0) > 90);
  const outputs = runPlans(
    made.flatMap(({ fn, args, plan }) =>
      [1, 4].map((lanes) => ({
        plan,
        lanes,
        inputs: args.map(encode),
        outputBytes: evaluate(fn, args).map((v) => encode(v).length),
      })),
    ),
    false,
  );
  made.forEach(({ fn, args, options }, i) => {
    for (const [j, lanes] of [1, 4].entries())
      assertSameValues(
        typed(fn, outputs[2 * i + j] ?? []),
        evaluate(fn, args),
        () => `${lanes} lanes: ${print(fn)}\n${JSON.stringify(options)}`,
      );
  });
});
