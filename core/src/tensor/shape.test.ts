/** Indexing and movement against Python's slices, worked out here element by element. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import fc from "fast-check";
import { arange, at, device, type Nested, slice, split, stack, tensor, zeros } from "../index.ts";

before(() => device("interpreter"));

/** Python's `range(*slice(start, end, step).indices(n))` (CPython, PySlice_AdjustIndices). */
function positions(n: number, start: number | undefined, end: number | undefined, step = 1): number[] {
  const clamp = (p: number, lo: number, hi: number) => Math.max(lo, Math.min(p < 0 ? p + n : p, hi));
  const [lo, hi] = step < 0 ? [-1, n - 1] : [0, n];
  const from = start === undefined ? (step < 0 ? n - 1 : 0) : clamp(start, lo, hi);
  const to = end === undefined ? (step < 0 ? -1 : n) : clamp(end, lo, hi);
  const found: number[] = [];
  for (let i = from; step < 0 ? i > to : i < to; i += step) found.push(i);
  return found;
}

test("slices are Python's, whatever start, end and step", async () => {
  const bound = fc.option(fc.integer({ min: -9, max: 9 }), { nil: undefined });
  const step = fc.integer({ min: -4, max: 4 }).filter((s) => s !== 0);
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 7 }), bound, bound, step, async (n, start, end, by) => {
      assert.deepEqual(
        await arange(n)
          .at(slice(start, end, by))
          .toArray(),
        positions(n, start, end, by),
      );
    }),
    { numRuns: 200 },
  );
});

test("positions, slices, new axes and what is left out", async () => {
  const x = arange(24).reshape([2, 3, 4]);
  const whole = (await x.toArray()) as number[][][];
  assert.deepEqual(await x.at(1).toArray(), whole[1]);
  assert.deepEqual(await x.at(-1, -2).toArray(), whole[1]?.[1]);
  assert.equal(await x.at(1, 2, 3).item(), 23);
  assert.deepEqual(
    await x.at(slice(), 1).toArray(),
    whole.map((m) => m[1]),
  );
  assert.deepEqual(await x.at(0, slice(undefined, undefined, -1), slice(3, 0, -2)).toArray(), [
    [11, 9],
    [7, 5],
    [3, 1],
  ]);
  assert.deepEqual(x.at(null, 0, null, slice(1)).shape, [1, 1, 2, 4]);
  assert.deepEqual(await at(x, null, 0, 0, null).toArray(), [[[0, 1, 2, 3]]]);
  assert.deepEqual(x.at().shape, [2, 3, 4]);
  assert.deepEqual(x.at(slice(5, 9)).shape, [0, 3, 4]);
});

test("broadcasting is NumPy's", async () => {
  const shapes: readonly (readonly [number[], number[], number[]])[] = [
    [[], [], []],
    [[3], [], [3]],
    [
      [3, 1, 5],
      [4, 1],
      [3, 4, 5],
    ],
    [
      [0, 3],
      [1, 3],
      [0, 3],
    ],
    [[1], [0], [0]],
    [
      [2, 1],
      [1, 3],
      [2, 3],
    ],
  ];
  for (const [a, b, c] of shapes) assert.deepEqual(zeros(a).add(zeros(b)).shape, c);
  assert.deepEqual(
    await tensor([[1], [2]])
      .mul(tensor([10, 20, 30]))
      .toArray(),
    [
      [10, 20, 30],
      [20, 40, 60],
    ],
  );
  assert.deepEqual(await tensor([1, 2]).broadcast([2, 2]).toArray(), [
    [1, 2],
    [1, 2],
  ]);
});

test("reshape works an open axis out", async () => {
  const x = arange(6);
  assert.deepEqual(x.reshape([2, -1]).shape, [2, 3]);
  assert.deepEqual(x.reshape([-1]).shape, [6]);
  assert.deepEqual(zeros([0, 4]).reshape([-1, 2]).shape, [0, 2]);
  assert.deepEqual(tensor(3).reshape([1, -1]).shape, [1, 1]);
  assert.deepEqual(await x.reshape([3, 2]).transpose().reshape([-1]).toArray(), [0, 2, 4, 1, 3, 5]);
});

test("joining and parting undo each other", async () => {
  const x = arange(12).reshape([3, 4]);
  const parts = split(x, 2, 1);
  assert.deepEqual(
    parts.map((p) => p.shape),
    [
      [3, 2],
      [3, 2],
    ],
  );
  const rows = split(x, 3).map((r) => r.squeeze(0));
  assert.deepEqual(await stack(rows).toArray(), await x.toArray());
  assert.deepEqual(stack(rows, -1).shape, [4, 3]);
  assert.deepEqual(x.expandDims(-1).shape, [3, 4, 1]);
  assert.deepEqual(x.expandDims(0).expandDims(2).squeeze().shape, [3, 4]);
  assert.deepEqual(x.swapAxes(0, -1).shape, [4, 3]);
});

test("pad, flip, tril and triu", async () => {
  const x = arange(9, undefined, 1, { dtype: "f32" }).reshape([3, 3]);
  assert.deepEqual(
    await tensor([1, 2])
      .pad([[1, 2]], 9)
      .toArray(),
    [9, 1, 2, 9, 9],
  );
  assert.deepEqual(await x.flip().at(0).toArray(), [8, 7, 6]);
  assert.deepEqual(await x.flip(-1).at(0).toArray(), [2, 1, 0]);
  assert.deepEqual(await x.tril().toArray(), [
    [0, 0, 0],
    [3, 4, 0],
    [6, 7, 8],
  ]);
  assert.deepEqual(await x.tril(-1).toArray(), [
    [0, 0, 0],
    [3, 0, 0],
    [6, 7, 0],
  ]);
  assert.deepEqual(await x.triu(1).toArray(), [
    [0, 1, 2],
    [0, 0, 5],
    [0, 0, 0],
  ]);
});

test("take and scatter: indices of any shape, those outside give NaN and are dropped", async () => {
  const x = tensor([
    [1, 2],
    [3, 4],
    [5, 6],
  ]);
  const at = (v: Nested) => tensor(v, { dtype: "i32" });
  assert.deepEqual(
    await x
      .take(
        at([
          [2, 0],
          [1, 1],
        ]),
      )
      .toArray(),
    [
      [
        [5, 6],
        [1, 2],
      ],
      [
        [3, 4],
        [3, 4],
      ],
    ],
  );
  assert.deepEqual(await x.take(at(1), 1).toArray(), [2, 4, 6]);
  assert.deepEqual(await x.take(at([3, -1])).toArray(), [
    [Number.NaN, Number.NaN],
    [Number.NaN, Number.NaN],
  ]);
  assert.deepEqual(
    await x
      .cast("i32")
      .take(at([3]))
      .toArray(),
    [[0, 0]],
  );
  assert.deepEqual(await x.scatter(at([0, 0, 7, -1]), 10).toArray(), [
    [21, 22],
    [3, 4],
    [5, 6],
  ]);
  // Of two values for one place the later one stays.
  assert.deepEqual(
    await x
      .scatter(
        at([1, 1]),
        tensor([
          [7, 7],
          [8, 9],
        ]),
        { mode: "set" },
      )
      .toArray(),
    [
      [1, 2],
      [8, 9],
      [5, 6],
    ],
  );
});
