import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { arbitraryGroup, randomSchedule } from "./arbitrary.fixture.ts";
import { evaluateKernel } from "./evaluate.ts";
import { schedule } from "./heuristics.ts";
import { check, group, hardware } from "./kernel.fixture.ts";
import { lower } from "./lower.ts";
import { applySchedule } from "./schedule.ts";
import { wideTiles } from "./products/wide-tile.ts";

wideTiles();

test("lowering gives the interpreter's result", () => {
  fc.assert(
    fc.property(arbitraryGroup, (fn) => check(fn)),
    { numRuns: 150 },
  );
});

test("the heuristic schedule gives the interpreter's result", () => {
  fc.assert(
    fc.property(arbitraryGroup, (fn) => check(fn, undefined, (k) => applySchedule(k, schedule(k, hardware)))),
    { numRuns: 150 },
  );
});

test("any legal schedule gives the interpreter's result", () => {
  let applied = 0;
  fc.assert(
    fc.property(arbitraryGroup, fc.array(fc.nat(10_000), { minLength: 4, maxLength: 20 }), (fn, numbers) => {
      const options = randomSchedule(lower(fn), numbers);
      applied += options.length;
      check(fn, undefined, (k) => applySchedule(k, options));
    }),
    { numRuns: 250 },
  );
  assert.ok(applied > 200, `only ${applied} options were legal`);
});

test("a kernel without scratch or masks reads every element that it names", () => {
  const kernel = lower(group([["f32", [2]]], (x) => x));
  assert.throws(() => evaluateKernel(kernel, [Float64Array.of(1)]), /outside/);
});
