import assert from "node:assert/strict";
import { test } from "node:test";
import { fuseRows } from "../compiler/join-rows.ts";
import { verify } from "../ir/verify.ts";
import { type Fn, topological } from "../ir/fn.ts";
import { dimsOf, type Node, type ReduceKind } from "../ir/node.ts";
import { parse } from "../ir/parse.ts";
import { print } from "../ir/print.ts";
import {
  add,
  div,
  eq,
  exp,
  expand,
  iota,
  mul,
  reduce,
  reduceKeep,
  reshape,
  rsqrt,
  scalar,
  sub,
  where,
} from "../ops/build.ts";
import { evaluateKernel } from "./evaluate.ts";
import { check, group, hardware } from "./kernel.fixture.ts";
import { schedule } from "./heuristics.ts";
import { lower } from "./lower.ts";
import { itemsOf } from "./nests.ts";
import { applySchedule } from "./schedule.ts";
import { rowsOf } from "./rows.ts";

fuseRows();

const along = (kind: ReduceKind, x: Node): Node => expand(reduceKeep(kind, x, [dimsOf(x).length - 1]), dimsOf(x));

const softmax = (x: Node): Node => {
  const e = exp(sub(x, along("max", x)));
  return div(e, along("sum", e));
};

const scheduled = (kernel: Fn): Fn => {
  verify(kernel, "kernel");
  const planned = applySchedule(kernel, schedule(kernel, hardware));
  verify(planned, "kernel");
  assert.equal(print(parse(print(planned))), print(planned));
  return planned;
};

for (const [rows, size] of [
  [2, 3],
  [5, 8],
  [70, 19],
  [33, 1],
  [3, 0],
  [64, 33],
] as const)
  test(`a softmax of ${rows} rows of ${size} is one loop over rows`, () => {
    const fn = group([["f32", [rows, size]]], softmax);
    if (size > 1) assert.equal(itemsOf(lower(fn))[0]?.op, "loop");
    check(fn, undefined, (k) => k, 1e-6);
    check(fn, undefined, scheduled, 1e-6);
  });

test("a norm with its rows on two axes, its weights and a second result", () => {
  const fn = group(
    [
      ["f32", [3, 7, 20]],
      ["f32", [20]],
    ],
    (x, w) => {
      const mean = mul(reduceKeep("sum", mul(x, x), [2]), expand(reshape(scalar(1 / 20, "f32"), [1, 1, 1]), [3, 7, 1]));
      const r = rsqrt(mean);
      const wide = (n: Node): Node => expand(n, [3, 7, 20]);
      return [mul(mul(x, wide(r)), wide(reshape(w, [1, 1, 20]))), reshape(r, [3, 7])];
    },
  );
  assert.equal(itemsOf(lower(fn))[0]?.op, "loop");
  check(fn, undefined, scheduled, 1e-6);
});

test("a long row is summed in blocks of its own", () => {
  const fn = group([["f32", [3, 5000]]], softmax);
  check(fn, undefined, scheduled, 1e-5);
});

test("softmaxes in a chain share the loop; what crosses rows does not", () => {
  check(
    group([["f32", [9, 12]]], (x) => softmax(softmax(x))),
    undefined,
    scheduled,
    1e-6,
  );
  const fn = group([["f32", [4, 4]]], (x) => add(x, expand(reshape(reduce("sum", x, [1]), [1, 4]), [4, 4])));
  assert.equal(rowsOf(fn), undefined);
});

test("values of a row that nothing reads any more give their memory to later ones", () => {
  const chain = group([["f32", [64, 40]]], (x) => Array.from({ length: 12 }).reduce<Node>((y) => softmax(y), x));
  const elements = topological(lower(chain).results).flatMap((n) => (n.op === "scratch" ? n.attr.type.dims : []));
  // Two arrays of a row for each of 32 blocks, and a few numbers.
  assert.ok(elements.reduce<number>((sum, d) => sum + Number(d), 0) < 32 * (3 * 40 + 8), elements.join(" "));
  check(chain, undefined, scheduled, 1e-6);
});

test("a sum that picks an element of its row is a load, 0 outside of the row, and +0 for −0", () => {
  const fn = group(
    [
      ["f32", [4, 8]],
      ["i32", [4]],
    ],
    (x, ids) => {
      const isIt = eq(iota("i32", [4, 8], 1), expand(reshape(ids, [4, 1]), [4, 8]));
      const kept = reduce("sum", where(isIt, x, expand(reshape(scalar(0, "f32"), [1, 1]), [4, 8])), [1]);
      return add(kept, reduce("max", x, [1]));
    },
  );
  const kernel = lower(fn);
  const sums = topological(kernel.results).filter((n) => n.op === "accumulate" && n.attr.kind === "sum");
  assert.deepEqual(sums, []);
  const x = Float64Array.from({ length: 32 }, (_, i) => i - 40);
  x[5] = -0;
  x[8] = Number.POSITIVE_INFINITY;
  const ids = Int32Array.of(5, 7, -1, 8);
  const most = [-0, Number.POSITIVE_INFINITY, -17, -9];
  const picked = [0, -25, 0, 0];
  const got = evaluateKernel(scheduled(kernel), [x, Float64Array.from(ids)])[0] as Float64Array;
  assert.deepEqual(
    [...got],
    most.map((m, i) => m + (picked[i] as number)),
  );
});
