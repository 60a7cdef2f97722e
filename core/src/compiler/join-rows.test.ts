import assert from "node:assert/strict";
import { test } from "node:test";
import { known, sizeOf } from "../ir/dim.ts";
import { dimsOf } from "../ir/node.ts";
import { tensorType } from "../ir/type.ts";
import { layerNorm, rmsNorm } from "../nn/functional.ts";
import { crossEntropy } from "../nn/losses.ts";
import { grad, softmax, type Tensor, valueAndGrad } from "../tensor/index.ts";
import { trace } from "../tensor/trace.ts";
import { passes } from "./compile.ts";
import { fuse } from "./fuse.ts";
import { fuseRows } from "./join-rows.ts";
import { runPasses } from "./pass.ts";

fuseRows();

type Shape = readonly number[];

/** For each group of a function the sizes of what it stores. */
function groupsOf(shapes: readonly Shape[], f: (...args: readonly Tensor[]) => unknown): number[][] {
  const { fn } = trace(
    "f",
    shapes.map((dims) => tensorType("f32", dims)),
    (args) => f(...args),
  );
  return fuse(runPasses(fn, passes)).groups.map((piece) =>
    "call" in piece ? [] : piece.roots.map((r) => known(sizeOf(dimsOf(r)), "a root")),
  );
}

const [rows, size] = [64, 32];
const x = [rows, size];
const all = rows * size;

test("a softmax is one kernel that stores its result alone, and so is its gradient", () => {
  assert.deepEqual(
    groupsOf([x], (t) => softmax(t)),
    [[all]],
  );
  const gradient = (t: Tensor, w: Tensor) => grad((u: Tensor) => softmax(u).mul(w).sum())(t);
  assert.deepEqual(
    groupsOf([x, x], (t, w) => gradient(t, w)),
    [[all]],
  );
});

test("24 softmaxes in a chain store nothing between them", () => {
  const chain = (t: Tensor): Tensor => Array.from({ length: 24 }).reduce<Tensor>((y) => softmax(y), t);
  assert.deepEqual(
    groupsOf([x], (t) => chain(t)),
    [[all]],
  );
});

test("a norm of a residual stores the sum and the norm", () => {
  const made = groupsOf([x, x, [size]], (a, b, w) => {
    const sum = a.add(b);
    return [sum, rmsNorm(sum, w)];
  });
  assert.deepEqual(made, [[all, all]]);
  assert.deepEqual(
    groupsOf([x, [size], [size]], (a, w, b) => layerNorm(a, w, b)),
    [[all]],
  );
});

test("the sums of a norm's backward pass share one sweep over its rows", () => {
  const made = groupsOf([x, x, [size], [size]], (a, g, w, b) =>
    grad((t: Tensor) => layerNorm(t, w, b).mul(g).sum())(a),
  );
  assert.deepEqual(made, [[all]]);
});

test("a cross entropy and its gradient read the logits in one kernel", () => {
  const made = groupsOf([x, [rows]], (t, targets) =>
    valueAndGrad((u: Tensor) => crossEntropy(u, targets.cast("i32")))(t),
  );
  // What the mean over rows needs and the gradient, then the mean.
  assert.equal(made.length, 2);
  assert.deepEqual(
    made[0]?.filter((n) => n !== rows),
    [all],
  );
  assert.deepEqual(made[1], [1]);
});

test("few or short rows, and reductions that cross them, keep kernels of their own", () => {
  for (const dims of [
    [4, 512],
    [512, 4],
  ])
    assert.equal(groupsOf([dims], (t) => softmax(t)).length > 1, true);
  assert.equal(groupsOf([x], (t) => softmax(t, 0)).length > 1, true);
});
