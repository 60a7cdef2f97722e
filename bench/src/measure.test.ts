import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { median, times } from "./measure.ts";

test("the median halves any list and does not reorder it", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1 }), (values) => {
      const before = [...values];
      const m = median(values);
      assert.deepEqual(values, before);
      assert.ok(values.filter((v) => v < m).length <= values.length / 2);
      assert.ok(values.filter((v) => v > m).length <= values.length / 2);
    }),
  );
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.throws(() => median([]), RangeError);
});

test("the warm-up is not timed, and the repeats keep their bounds", async () => {
  let calls = 0;
  const count = async () => void calls++;
  assert.equal((await times(count, { warmup: 3, atLeast: 4, seconds: 0 })).length, 4);
  assert.equal(calls, 7);
  assert.equal((await times(count, { warmup: 0, atLeast: 1, seconds: 60, atMost: 10 })).length, 10);
  const [slept = 0] = await times(() => new Promise((resolve) => setTimeout(resolve, 20)), { atLeast: 1, seconds: 0 });
  assert.ok(slept > 0.015 && slept < 2, `${slept} s`);
});
