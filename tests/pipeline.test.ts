/** The whole pipeline (passes, fusion, kernels, memory plan, executor) on every device against the interpreter's node by
 *  node meaning, over random functions. Two families: where each op is rounded exactly alike, bits must agree, discrete ops
 *  included; where sums and transcendental functions may differ in the last places, values must be close. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { passes } from "../core/src/compiler/compile.ts";
import { runPasses } from "../core/src/compiler/pass.ts";
import { evaluate } from "../core/src/interpreter/evaluate.ts";
import type { Value } from "../core/src/interpreter/value.ts";
import type { Fn } from "../core/src/ir/fn.ts";
import { print } from "../core/src/ir/print.ts";
import { verify } from "../core/src/ir/verify.ts";
import { openStream } from "../core/src/runtime/devices.ts";
import { arbitrarySample, assertSameValues, everyDtype } from "./arbitrary/graphs.ts";
import { exactOps, smoothOps, wholeGraphOps } from "./arbitrary/ops.ts";
import { magnitude, readsBitsOfNan, run } from "./pipeline.ts";

/** Every device, and the processor with loops shared however short they are. */
const targets = [
  { name: "interpreter", device: "interpreter", opened: {} },
  { name: "cpu", device: "cpu", opened: {} },
  { name: "cpu, 2 threads", device: "cpu", opened: { options: { threads: 2, grain: 1 } } },
  { name: "sim", device: "sim", opened: {} },
];

/** Of a smooth function; samples with large values are passed over. */
function assertNear(actual: readonly Value[], fn: Fn, args: readonly Value[]): void {
  const scale = magnitude(fn, args);
  fc.pre(scale < 1e5);
  evaluate(fn, args, { exact: true }).forEach(({ data }, j) => {
    data.forEach((e: number | bigint, i: number) => {
      const a = Number(actual[j]?.data[i]);
      assert.ok(Math.abs(a - Number(e)) <= 2e-5 * scale * scale, `${a} is not ${e}\n${print(fn)}`);
    });
  });
}

for (const { name, device, opened } of targets) {
  test(`${name}: exactly rounded graphs give the interpreter's bits`, async () => {
    const stream = await openStream(device, opened);
    const options = {
      dtypes: everyDtype,
      ops: exactOps,
      maxNodes: 14,
    } as const;
    await fc.assert(
      fc.asyncProperty(arbitrarySample(options), async ({ fn, args }) => {
        fc.pre(!readsBitsOfNan(fn, args));
        assertSameValues(await run(stream, fn, args), evaluate(fn, args), () => print(fn));
      }),
      { numRuns: 150 },
    );
  });

  test(`${name}: graphs of integers give the interpreter's bits`, async () => {
    const stream = await openStream(device, opened);
    const options = {
      dtypes: ["i32", "u32", "i64", "i8", "u8", "u16", "i16"],
      ops: wholeGraphOps,
      maxNodes: 8,
    } as const;
    await fc.assert(
      fc.asyncProperty(arbitrarySample(options), async ({ fn, args }) => {
        assertSameValues(await run(stream, fn, args), evaluate(fn, args), () => print(fn));
      }),
      { numRuns: 150 },
    );
  });

  test(`${name}: graphs with weights in blocks give the interpreter's values, to the bit where ops are exact`, async () => {
    const stream = await openStream(device, opened);
    const options = { dtypes: ["f32", "i32"], blocks: ["q8_0", "q4_0", "q4_k"], maxNodes: 8 } as const;
    await fc.assert(
      fc.asyncProperty(arbitrarySample({ ...options, ops: exactOps }), async ({ fn, args }) => {
        fc.pre(!readsBitsOfNan(fn, args));
        assertSameValues(await run(stream, fn, args), evaluate(fn, args), () => print(fn));
      }),
      { numRuns: 40 },
    );
    const near = [...smoothOps, ...Array.from({ length: 12 }, () => "dot" as const)];
    await fc.assert(
      fc.asyncProperty(arbitrarySample({ ...options, dtypes: ["f32"], ops: near }), async ({ fn, args }) =>
        assertNear(await run(stream, fn, args), fn, args),
      ),
      { numRuns: 60 },
    );
  });

  test(`${name}: smooth graphs give the interpreter's values`, async () => {
    const stream = await openStream(device, opened);
    await fc.assert(
      fc.asyncProperty(
        arbitrarySample({ dtypes: ["f32", "f64"], ops: smoothOps, maxNodes: 10 }),
        async ({ fn, args }) => assertNear(await run(stream, fn, args), fn, args),
      ),
      { numRuns: 150 },
    );
  });
}

test("every pass leaves legal IR", () => {
  fc.assert(
    fc.property(arbitrarySample({ maxNodes: 14 }), ({ fn }) => {
      runPasses(fn, passes, (_, made) => verify(made, "tensor"));
    }),
    { numRuns: 200 },
  );
});
