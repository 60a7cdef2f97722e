import assert from "node:assert/strict";
import { test } from "node:test";
import { valueOf } from "../interpreter/value.ts";
import { type Node, tensorTypeOf } from "../ir/node.ts";
import { attention } from "../ops/attention.ts";
import {
  add,
  cast,
  concat,
  dot,
  exp,
  expand,
  flip,
  gather,
  iota,
  mul,
  pad,
  permute,
  random,
  reduce,
  reshape,
  scalar,
  scatter,
  slice,
  sub,
} from "../ops/build.ts";
import { cumulate } from "../ops/cumulative.ts";
import { argsort } from "../ops/sorting.ts";
import { evaluateKernel } from "./evaluate.ts";
import { check, group, sample } from "./kernel.fixture.ts";
import { lower } from "./lower.ts";
import { nestsOf } from "./nests.ts";

test("element-wise ops read their sources at the same index", () => {
  check(
    group(
      [
        ["f32", [3, 4]],
        ["f32", [3, 4]],
      ],
      (a, b) => add(mul(a, b), a),
    ),
  );
});

test("a chain of 10 000 ops is lowered", () => {
  const kernel = lower(group([["f32", [2]]], (a) => Array.from({ length: 10_000 }).reduce<Node>((x) => add(x, a), a)));
  assert.deepEqual([...(evaluateKernel(kernel, [Float64Array.of(1, 2)])[0] as Float64Array)], [10_001, 20_002]);
});

test("movement ops only change the index", () => {
  check(
    group([["f32", [2, 3, 4]]], (x) =>
      permute(reshape(flip(slice(x, [0, 1, 0], [2, 2, 2], [1, 1, 2]), [2]), [4, 2]), [1, 0]),
    ),
  );
  check(group([["f32", [3, 1]]], (x) => expand(x, [3, 5])));
});

for (const causal of [false, true])
  test(`the loops of attention${causal ? ", causal," : ""} end where memory says how many keys there are`, () => {
    const fn = group(
      [
        ["f64", [3, 2, 5, 4]],
        ["f64", [3, 1, 140, 4]],
        ["f64", [3, 1, 140, 4]],
        ["i32", [3]],
      ],
      (q, k, v, lengths) => attention({ q, k, v, mask: undefined, lengths }, { causal, scale: 0.125 }),
    );
    for (const lengths of [
      [-3, 0, 7],
      [64, 128, 129],
      [140, 143, 2 ** 31 - 1],
    ]) {
      const inputs = fn.params.slice(0, 3).map((p, i) => sample("f64", tensorTypeOf(p).dims, i));
      check(fn, [...inputs, valueOf("i32", [3], lengths)], undefined, 1e-12);
    }
  });

test("the loops of attention begin where memory says that a query's keys do", () => {
  const fn = group(
    [
      ["f64", [2, 2, 70, 4]],
      ["f64", [2, 1, 140, 4]],
      ["f64", [2, 1, 140, 4]],
      ["i32", [2]],
      ["i32", [2, 70]],
    ],
    (q, k, v, lengths, starts) =>
      attention({ q, k, v, mask: undefined, lengths, starts }, { causal: true, scale: 0.125 }),
  );
  const inputs = fn.params.slice(0, 3).map((p, i) => sample("f64", tensorTypeOf(p).dims, i));
  const starts = Array.from({ length: 140 }, (_, i) => [(i % 70) + 9, -5, 64, 200][Math.floor(i / 40)] as number);
  check(fn, [...inputs, valueOf("i32", [2], [140, 90]), valueOf("i32", [2, 70], starts)], undefined, 1e-12);
});

test("pad and concat choose by masks", () => {
  check(group([["f32", [2, 3]]], (x) => pad(x, [1, 0], [0, 2], 9)));
  check(
    group(
      [
        ["f32", [2, 3]],
        ["f32", [1, 3]],
      ],
      (x, y) => concat([x, y, pad(x, [1, 0], [1, 0])], 0),
    ),
  );
  check(group([["f32", [4]]], (x) => reshape(pad(reshape(x, [2, 2]), [1, 1], [1, 1], 5), [2, 8])));
});

test("storage dtypes are loaded, chosen and stored as they are", () => {
  check(
    group(
      [
        ["f16", [3]],
        ["u8", [4]],
      ],
      (x, y) => [pad(x, [1], [1], 1.5), concat([y, y], 0), cast(y, "f32")],
    ),
  );
});

test("iota, constants and host scalars", () => {
  check(group([["f32", [], "host"]], (s) => mul(expand(reshape(s, [1, 1]), [3, 4]), iota("f32", [3, 4], 1))));
  check(group([], () => scalar(2.5, "f32")));
});

test("random bits are those of the interpreter", () => {
  const key = valueOf("u32", [2], [0x13198a2e, 0x03707344]);
  const high = valueOf("u32", [], [2 ** 32 - 3]);
  check(
    group(
      [
        ["u32", [2]],
        ["u32", []],
      ],
      (k, o) => [random(k, o, [2, 3]), random(k, o, [5], 2)],
    ),
    [key, high],
  );
});

test("gather gives NaN outside, and 0 for integers", () => {
  const indices = valueOf("i32", [2, 2], [1, -1, 5, 0]);
  for (const dtype of ["f32", "i32"] as const)
    check(
      group(
        [
          [dtype, [2, 3, 2]],
          ["i32", [2, 2]],
        ],
        (x, i) => gather(x, i, 1),
      ),
      [sample(dtype, [2, 3, 2], 1), indices],
    );
});

test("scatter applies updates in order and drops those outside", () => {
  const indices = valueOf("i32", [4], [2, 0, 2, 7]);
  for (const mode of ["add", "set"] as const)
    check(
      group(
        [
          ["f32", [2, 3]],
          ["i32", [4]],
          ["f32", [2, 4]],
        ],
        (x, i, u) => scatter(x, i, mul(u, u), 1, mode),
      ),
      [sample("f32", [2, 3], 0), indices, sample("f32", [2, 4], 1)],
    );
});

test("reductions, also of nothing", () => {
  for (const kind of ["sum", "prod", "max", "min"] as const) {
    check(group([["f32", [2, 3, 4]]], (x) => reduce(kind, x, [0, 2])));
    check(group([["i32", [2, 0]]], (x) => reduce(kind, x, [1])));
    check(group([["f32", [0, 2]]], (x) => reduce(kind, x, [1])));
  }
  check(group([["bool", [2, 3]]], (x) => reduce("max", x, [1])));
});

test("a reduction may be used by what comes after it", () => {
  check(group([["f32", [3, 4]]], (x) => sub(x, expand(reshape(reduce("max", x, [1]), [3, 1]), [3, 4]))));
});

test("dot maps batch, free and contracted axes", () => {
  check(
    group(
      [
        ["f32", [3, 5]],
        ["f32", [5, 2]],
      ],
      (a, b) => dot(a, b, { contract: [[1], [0]], batch: [[], []] }),
    ),
  );
  check(
    group(
      [
        ["f32", [4, 2, 3, 5]],
        ["f32", [5, 2, 6, 3]],
      ],
      (a, b) =>
        dot(a, b, {
          contract: [
            [2, 3],
            [3, 0],
          ],
          batch: [[1], [1]],
        }),
    ),
  );
});

test("results with the same ranges share a nest", () => {
  const kernel = lower(group([["f32", [3, 1, 4]]], (x) => [exp(x), reshape(add(x, x), [3, 4])]));
  assert.equal(kernel.results[0]?.src.length, 1);
});

test("nothing is written for a result without elements, as what lies there is another's", () => {
  for (const dims of [[0], [0, 3], [2, 0]])
    for (const down of [false, true]) {
      const axis = dims.indexOf(0);
      for (const made of [(a: Node) => cumulate("sum", [a], axis, down), (a: Node) => argsort(a, axis, down)])
        assert.deepEqual(nestsOf(lower(group([["f32", dims]], made))), []);
    }
});
