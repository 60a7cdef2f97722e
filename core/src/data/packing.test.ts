/** Packed rows hold every prediction once, never overflow, are nearly full, and do not depend on the steps before. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ArgumentError, data } from "../index.ts";

const sequences = fc.integer({ min: 1, max: 40 });
const lengthLists = fc.array(fc.integer({ min: 0, max: 130 }), { minLength: 1, maxLength: 120 });

/** Best fit by looking at every row: the meaning of what the tree finds. */
function plainly(sizes: readonly number[], sequence: number): number {
  const rooms: number[] = [];
  for (const size of sizes.toSorted((a, b) => b - a)) {
    const fits = rooms.map((room, i) => ({ room, i })).filter(({ room }) => room >= size);
    const best = fits.sort((a, b) => a.room - b.room)[0];
    if (best) rooms[best.i] = best.room - size;
    else rooms.push(sequence - size);
  }
  return rooms.length;
}

test("every prediction is in one row once, and as many rows are needed as by best fit over all", () => {
  fc.assert(
    fc.property(lengthLists, sequences, (lengths, sequence) => {
      fc.pre(lengths.some((n) => n > 1));
      const packing = data.packDocuments(lengths, sequence);
      const seen = new Set<string>();
      const sizes: number[] = [];
      for (let r = 0; r < packing.rows; r++) {
        const pieces = packing.row(r);
        assert.ok(pieces.length > 0);
        assert.ok(pieces.reduce((sum, { length }) => sum + length, 0) <= sequence);
        for (const { document, from, length } of pieces) {
          sizes.push(length);
          assert.ok(length > 0 && from + length < (lengths[document] ?? 0));
          for (let t = 0; t < length; t++) seen.add(`${document}:${from + t}`);
        }
      }
      const predictions = lengths.reduce((sum, n) => sum + Math.max(0, n - 1), 0);
      assert.equal(seen.size, predictions);
      assert.equal(packing.tokens, predictions);
      assert.equal(packing.rows, plainly(sizes, sequence));
      assert.equal(packing.filled, predictions / (packing.rows * sequence));
    }),
  );
});

test("documents of skewed length fill their rows", () => {
  const lengths = Array.from({ length: 5000 }, (_, i) => 2 + Math.floor(1000 / (1 + (data.permute(5000, 7, i) % 100))));
  const begin = performance.now();
  assert.ok(data.packDocuments(lengths, 256).filled > 0.99);
  assert.ok(performance.now() - begin < 2000);
});

test("a batch says where documents begin, what follows each token, and what is padding", () => {
  const documents = [
    [10, 11, 12, 13],
    [20, 21],
    [30, 31, 32],
  ];
  const { at, packing } = data.packedBatches(documents, { batch: 1, sequence: 5, seed: 0 });
  assert.equal(packing.rows, 2);
  const rows = [at(0), at(1)].toSorted((a, b) => (a.inputs[0] ?? 0) - (b.inputs[0] ?? 0));
  const plain = rows.map((batch) => Object.fromEntries(Object.entries(batch).map(([k, v]) => [k, [...v]])));
  assert.deepEqual(plain, [
    {
      inputs: [10, 11, 12, 30, 31],
      targets: [11, 12, 13, 31, 32],
      segments: [1, 1, 1, 2, 2],
      positions: [0, 1, 2, 0, 1],
      weights: [1, 1, 1, 1, 1],
    },
    {
      inputs: [20, 0, 0, 0, 0],
      targets: [21, -1, -1, -1, -1],
      segments: [1, 0, 0, 0, 0],
      positions: [0, 0, 0, 0, 0],
      weights: [1, 0, 0, 0, 0],
    },
  ]);
});

test("the batch of a step follows from seed and step alone, and an epoch has every row once", () => {
  fc.assert(
    fc.property(lengthLists, sequences, fc.nat(500), fc.nat(), (lengths, sequence, step, seed) => {
      fc.pre(lengths.some((n) => n > 1));
      const documents = lengths.map((n, d) => Array.from({ length: n }, (_, t) => 1000 * d + t));
      const options = { batch: 3, sequence, seed };
      const used = data.packedBatches(documents, options);
      used.at(step + 3);
      assert.deepEqual(used.at(step), data.packedBatches(documents, options).at(step));
      const single = data.packedBatches(documents, { ...options, batch: 1 });
      const epoch = Array.from({ length: single.packing.rows }, (_, i) => String(single.at(i).inputs));
      assert.equal(single.stepsPerEpoch, epoch.length);
      const targets = Array.from({ length: epoch.length }, (_, i) => [...single.at(i).targets]).flat();
      const expected = documents.flatMap((ids) => ids.slice(1));
      assert.deepEqual(
        targets.filter((id) => id !== data.ignoreIndex).toSorted((a, b) => a - b),
        expected.toSorted((a, b) => a - b),
      );
    }),
    { numRuns: 50 },
  );
});

test("absurd sizes and documents that predict nothing are refused", () => {
  assert.throws(() => data.packDocuments([0, 1, 1], 8), /none of 3 documents has 2 tokens/);
  for (const absurd of [0, -1, 1.5, Number.NaN]) {
    assert.throws(() => data.packDocuments([4], absurd), ArgumentError);
    assert.throws(() => data.packedBatches([[1, 2]], { batch: absurd, sequence: 4, seed: 0 }), ArgumentError);
  }
  assert.throws(() => data.packedBatches([[1, 2]], { batch: 1, sequence: 4, seed: -1 }), ArgumentError);
  assert.throws(() => data.packedBatches([[1, 2]], { batch: 1, sequence: 4, seed: 0 }).at(-1), ArgumentError);
});
