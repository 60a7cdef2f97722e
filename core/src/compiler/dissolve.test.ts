import assert from "node:assert/strict";
import { test } from "node:test";
import { known, sizeOf } from "../ir/dim.ts";
import { dimsOf } from "../ir/node.ts";
import { tensorType } from "../ir/type.ts";
import { sigmoid, silu } from "../nn/activations.ts";
import { flip, type Tensor, vjp } from "../tensor/index.ts";
import { trace } from "../tensor/trace.ts";
import { passes } from "./compile.ts";
import { fuse } from "./fuse.ts";
import { fuseRows } from "./join-rows.ts";
import { runPasses } from "./pass.ts";

fuseRows();

const x = tensorType("f32", [4, 64]);

/** For each group of a function of three arrays, how many values of their size it stores. */
function storedBy(f: (a: Tensor, b: Tensor, g: Tensor) => unknown): number[] {
  const { fn } = trace("f", [x, x, x], (args) => f(...(args as [Tensor, Tensor, Tensor])));
  return fuse(runPasses(fn, passes)).groups.map((piece) => {
    const roots = "call" in piece ? [] : piece.roots;
    assert.ok(roots.every((r) => known(sizeOf(dimsOf(r)), "a root") === 256));
    return roots.length;
  });
}

test("the gradient of a gated unit and its value are one kernel, what they share is stored nowhere", () => {
  const unit = (a: Tensor, b: Tensor): Tensor => silu(a).mul(b);
  assert.deepEqual(
    storedBy((a, b, g) => {
      const [value, back] = vjp(unit, a, b);
      return [value, back(g)];
    }),
    [3],
  );
});

test("what is a result too, or read at another place, is stored", () => {
  const shared = (a: Tensor, b: Tensor): Tensor[] => {
    const s = sigmoid(a);
    return [s.mul(b), s.add(b), s.sub(b)];
  };
  assert.deepEqual(
    storedBy((a, b) => shared(a, b)),
    [3],
  );
  assert.deepEqual(
    storedBy((a, b) => [...shared(a, b), sigmoid(a)]),
    [4],
  );
  assert.deepEqual(
    storedBy((a, b) => {
      const s = sigmoid(a);
      return [flip(s, 0).mul(b), flip(s, 0).sub(b), flip(s, 0).add(b)];
    }),
    [1, 3],
  );
});

test("a long chain stays cut", () => {
  const stored = storedBy((a) => {
    let y = a;
    for (let i = 0; i < 4000; i++) y = y.mul(0.5).add(a);
    return y;
  });
  assert.ok(stored.length > 1);
});
