/** Batches follow from seed and step alone, an epoch has every window once, and evaluation counts every token once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ArgumentError, data } from "../index.ts";

test("permute is a permutation, another one for each word", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 700 }), fc.nat(), (count, word) => {
      const seen = new Set(Array.from({ length: count }, (_, i) => data.permute(count, word, i)));
      assert.equal(seen.size, count);
      for (const p of seen) assert.ok(p >= 0 && p < count);
    }),
    { numRuns: 60 },
  );
  assert.notDeepEqual(
    [0, 1, 2, 3, 4, 5, 6, 7].map((i) => data.permute(8, 1, i)),
    [0, 1, 2, 3, 4, 5, 6, 7].map((i) => data.permute(8, 2, i)),
  );
  assert.ok(data.permute(2 ** 40, 3, 2 ** 39) < 2 ** 40);
  assert.throws(() => data.permute(5, 0, 5), ArgumentError);
});

test("where a position goes is spread evenly over the seeds", () => {
  const count = 10;
  const trials = 20_000;
  for (const position of [0, 4, 9]) {
    const hits = new Array<number>(count).fill(0);
    for (let word = 0; word < trials; word++) {
      const to = data.permute(count, word, position);
      hits[to] = (hits[to] as number) + 1;
    }
    const chiSquare = hits.reduce((s, h) => s + (h - trials / count) ** 2 / (trials / count), 0);
    assert.ok(chiSquare < 27.9, `χ² of 9 degrees is ${chiSquare}, above its 0.1 % quantile`);
  }
});

const ids = Int32Array.from({ length: 1000 }, (_, i) => i);

test("an epoch takes each window once, and the next takes them in another order from another place", () => {
  const sequence = 16;
  const batches = data.tokenBatches(ids, { batch: 3, sequence, seed: 7 });
  const starts = Array.from({ length: 2 * batches.windows }, (_, i) => {
    const { inputs, targets } = batches.at(Math.floor(i / 3));
    const row = (i % 3) * sequence;
    for (let t = 0; t < sequence; t++) assert.equal(targets[row + t], (inputs[row + t] as number) + 1);
    return inputs[row] as number;
  });
  const epochs = [starts.slice(0, batches.windows), starts.slice(batches.windows)];
  for (const epoch of epochs) {
    assert.equal(new Set(epoch).size, batches.windows);
    assert.equal(new Set(epoch.map((s) => s % sequence)).size, 1, "windows of an epoch do not overlap");
    assert.notDeepEqual(
      epoch,
      epoch.toSorted((a, b) => a - b),
    );
  }
  assert.notDeepEqual(epochs[0], epochs[1]);
  assert.equal(batches.stepsPerEpoch, Math.ceil(batches.windows / 3));
});

test("the batch of a step does not depend on the steps before it", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 300 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 5 }),
      fc.nat(10_000),
      fc.nat(),
      (length, sequence, batch, step, seed) => {
        fc.pre(length > sequence);
        const text = ids.subarray(0, length);
        const options = { batch, sequence, seed };
        const used = data.tokenBatches(text, options);
        used.at(0);
        used.at(step + 1);
        const got = used.at(step);
        assert.deepEqual(got, data.tokenBatches(Array.from(text), options).at(step));
        assert.equal(got.inputs.length, batch * sequence);
        got.inputs.forEach((id, i) => assert.equal(got.targets[i], id + 1));
      },
    ),
  );
  assert.notDeepEqual(
    data.tokenBatches(ids, { batch: 2, sequence: 8, seed: 1 }).at(0),
    data.tokenBatches(ids, { batch: 2, sequence: 8, seed: 2 }).at(0),
  );
});

test("evaluation predicts every token but the first once", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 400 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 5 }),
      (length, sequence, batch) => {
        const held = data.orderedBatches(ids.subarray(0, length), { batch, sequence });
        const seen: number[] = [];
        for (let i = 0; i < held.count; i++) {
          const { inputs, targets, predicted } = held.at(i);
          const real = [...targets].filter((t) => t !== data.ignoreIndex);
          assert.equal(real.length, predicted);
          targets.forEach((t, k) => {
            if (t !== data.ignoreIndex) assert.equal(inputs[k], t - 1);
          });
          seen.push(...real);
        }
        assert.deepEqual(
          seen,
          Array.from({ length: length - 1 }, (_, i) => i + 1),
        );
        assert.equal(held.predicted, length - 1);
      },
    ),
  );
});

test("a split is the text again", () => {
  const { train, heldOut } = data.splitTokens(ids, { heldOut: 0.1 });
  assert.equal(heldOut.length, 100);
  assert.deepEqual([...train, ...heldOut], [...ids]);
});

test("texts that are empty or too short, and absurd sizes, are refused", () => {
  assert.throws(() => data.tokenBatches([], { batch: 1, sequence: 1, seed: 0 }), /the text is empty/);
  assert.throws(
    () => data.tokenBatches([1, 2, 3], { batch: 1, sequence: 3, seed: 0 }),
    /needs at least 4, the text has 3/,
  );
  for (const absurd of [0, -1, 1.5, Number.NaN]) {
    assert.throws(() => data.tokenBatches(ids, { batch: absurd, sequence: 4, seed: 0 }), ArgumentError);
    assert.throws(() => data.tokenBatches(ids, { batch: 1, sequence: absurd, seed: 0 }), ArgumentError);
    if (absurd !== 0)
      assert.throws(() => data.tokenBatches(ids, { batch: 1, sequence: 4, seed: absurd }), ArgumentError);
    assert.throws(() => data.splitTokens(ids, { heldOut: absurd }), ArgumentError);
  }
  assert.throws(() => data.orderedBatches([1], { batch: 1, sequence: 4 }), ArgumentError);
  assert.throws(() => data.splitTokens([1], { heldOut: 0.5 }), ArgumentError);
  assert.throws(() => data.tokenBatches(ids, { batch: 1, sequence: 4, seed: 0 }).at(-1), ArgumentError);
});
