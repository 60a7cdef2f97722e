/** Random legal schedules as WebAssembly, on one thread and on two that share loops however short, against the interpreter. */
import { test } from "node:test";
import fc from "fast-check";
import { evaluate } from "../core/src/interpreter/evaluate.ts";
import { valueOf } from "../core/src/interpreter/value.ts";
import type { Fn } from "../core/src/ir/fn.ts";
import { dimsOf, dtypeOf } from "../core/src/ir/node.ts";
import { print } from "../core/src/ir/print.ts";
import { arbitraryGroup, arbitraryGroupOf, randomSchedule } from "../core/src/kernel/arbitrary.fixture.ts";
import { sample } from "../core/src/kernel/kernel.fixture.ts";
import { lower } from "../core/src/kernel/lower.ts";
import { shareLoops } from "../core/src/kernel/parallel.ts";
import { applySchedule } from "../core/src/kernel/schedule.ts";
import { cpuDriver } from "../south/cpu/src/index.ts";
import { run } from "../south/cpu/src/wasm/rig.ts";
import { assertSameValues } from "./arbitrary/graphs.ts";

const dtypes = ["f32", "f64", "f16", "bf16", "i64", "u32", "i8", "u16", "bool"] as const;

/** @param runs  of how many groups */
async function holds(groups: fc.Arbitrary<Fn>, threads: number, runs: number): Promise<void> {
  const device = await cpuDriver.open("cpu", { threads, grain: 1 });
  await fc.assert(
    fc.asyncProperty(groups, fc.array(fc.nat(10_000), { minLength: 4, maxLength: 20 }), async (fn, numbers) => {
      const kernel = lower(fn);
      const options = randomSchedule(kernel, numbers);
      const scheduled = applySchedule(kernel, options);
      const args = fn.params.map((p, i) => sample(dtypeOf(p), dimsOf(p), i));
      const inputs = args.map(({ data }) => Array.from(data as Float64Array, Number));
      const outputs = await run(device, threads > 1 ? shareLoops(scheduled) : scheduled, inputs);
      const values = fn.results.map((r, j) => valueOf(dtypeOf(r), dimsOf(r) as number[], outputs[j] ?? []));
      assertSameValues(values, evaluate(fn, args), () => `${print(fn)}\n${JSON.stringify(options)}`);
    }),
    { numRuns: runs },
  );
  await device.close();
}

for (const threads of [1, 2]) {
  const on = `${threads} thread${threads > 1 ? "s" : ""}`;
  test(`any legal schedule gives the interpreter's result in WebAssembly, ${on}`, () =>
    holds(arbitraryGroup, threads, 150));
  for (const dtype of dtypes) test(`the same of ${dtype}, ${on}`, () => holds(arbitraryGroupOf(dtype), threads, 25));
}
