import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { arbitraryGraph, arbitraryKernel } from "../../../tests/arbitrary/graphs.ts";
import { FormatError } from "../errors.ts";
import * as b from "../ops/build.ts";
import { newScope } from "../ops/table.ts";
import { bindDim, symbol } from "./symbol.ts";
import { type Fn, fnEqual, makeFn } from "./fn.ts";
import type { Node } from "./node.ts";
import { parse } from "./parse.ts";
import { print } from "./print.ts";
import { within } from "./scope.ts";
import { tensorType, type TensorType } from "./type.ts";

const param = (index: number, name: string, type: TensorType) => b.build("param", [], { index, name, type });
const scopeOf = (fn: Fn) => (fn.results[0] as Node).scope;
const allDTypes = ["bool", "u8", "i32", "u32", "i64", "f16", "bf16", "f32", "f64"] as const;

/** Prints, reads back into the same scope and into a fresh one, and prints again. */
function roundTrip(fn: Fn): void {
  const text = print(fn);
  assert.equal(parse(text, scopeOf(fn)), fn, text);
  const copy = parse(text);
  assert.ok(fnEqual(copy, fn), text);
  assert.equal(print(copy), text);
}

test("the text of a function is what people read", () => {
  const batch = symbol("batch", { lo: 1, hi: 64, multiple: 8 });
  const scope = newScope(() => "model.ts:41:18");
  const fn = within(scope, () => {
    const [x, w] = [param(0, "x", tensorType("f32", [batch, 128])), param(1, "w", tensorType("f32", [128, 64]))];
    return makeFn("layer", [x, w], [b.neg(b.dot(x, w, { contract: [[1], [0]], batch: [[], []] }))]);
  });
  assert.equal(
    print(fn),
    `dims batch 1..64 multiple 8
fn @layer(%0 "x": f32[batch, 128], %1 "w": f32[128, 64]) {
  %2 = dot(%0, %1) {batch: [[], []], contract: [[1], [0]]} : f32[batch, 64]  // model.ts:41:18
  %3 = neg(%2) : f32[batch, 64]  // model.ts:41:18
  return %3
}
`,
  );
  roundTrip(fn);
});

test("random tensor graphs come back as themselves", () => {
  fc.assert(fc.property(arbitraryGraph({ dtypes: allDTypes, maxNodes: 20 }), roundTrip), { numRuns: 300 });
});

test("random graphs with symbolic dims come back as themselves", () => {
  fc.assert(fc.property(arbitraryGraph({ symbolic: true }), roundTrip), { numRuns: 150 });
});

test("random kernels come back as themselves", () => {
  fc.assert(fc.property(arbitraryKernel(), roundTrip), { numRuns: 150 });
});

test("every double of a constant survives", () => {
  fc.assert(
    fc.property(fc.double(), (value) => {
      const fn = within(newScope(), () => makeFn("c", [], [b.scalar(value, "f64")]));
      const [c] = parse(print(fn)).results;
      assert.ok(c?.op === "const" && Object.is(c.attr.value, value));
    }),
  );
});

test("spaces, shards, tuples, block dtypes and odd names survive", () => {
  const fn = within(newScope(), () => {
    const s = param(0, 'a "quoted"\n\\ name %0', tensorType("f32", [], "host"));
    const w = param(1, "", tensorType("q4_0", [64, 32], "disk"));
    const shard = { mesh: "mesh", dims: [["dp", "tp"], []], partial: { axes: ["pp"], op: "sum" } } as const;
    const x = param(2, "x", { dtype: "bf16", dims: [8, 4], shard, space: "host" });
    const empty = param(3, "e", { dtype: "f32", dims: [], shard: { mesh: "m", dims: [] } });
    const pair = b.build("tuple", [s, b.build("tuple", [], {}), w], {});
    return makeFn("weird name #2", [s, w, x, empty], [pair, b.item(pair, 2), x, x]);
  });
  roundTrip(fn);
});

test("functions of one name are told apart", () => {
  const fn = within(newScope(), () => {
    const x = param(0, "x", tensorType("f32", [3]));
    const [inner, other] = [makeFn("f", [x], [b.neg(x)]), makeFn("f", [x], [b.exp(x)])];
    return makeFn("f", [x], [b.item(b.call(inner, [x]), 0), b.item(b.call(other, [x]), 0)]);
  });
  assert.match(print(fn), /fn @f\(.*fn @f#2\(.*fn @f#3\(/s);
  roundTrip(fn);
});

test("a chain of 10 000 nodes prints and parses", () => {
  const fn = within(newScope(), () => {
    const x = param(0, "x", tensorType("f32", [2]));
    let y: Node = x;
    for (let i = 0; i < 10_000; i++) y = b.neg(y);
    return makeFn("chain", [x], [y]);
  });
  roundTrip(fn);
});

for (const [what, text, message] of [
  ["nothing", "", /line 1, column 1: expected a function/],
  ["an unknown op", "fn @f() {\n  %0 = frob() : f32[]\n  return %0\n}", /line 2, column 8: expected an op/],
  ["an undefined value", "fn @f() {\n  return %7\n}", /line 2, column 10: expected a value that stands above/],
  [
    "a wrong type",
    'fn @f(%0 "x": f32[3]) {\n  %1 = neg(%0) : f32[4]\n  return %1\n}',
    /line 2, column 18: expected f32\[3\]/,
  ],
  [
    "a missing attribute",
    'fn @f(%0 "x": f32[3]) {\n  %1 = reduce(%0) {axes: [0]} : f32[]\n return %1 }',
    /line 2, column 8.*kind/,
  ],
  [
    "a wrong shape",
    'fn @f(%0 "x": f32[3]) {\n  %1 = reduce(%0) {axes: [1], kind: "sum"} : f32[]\n return %1 }',
    /line 2, column 8: reduce/,
  ],
  ["a negative size", 'fn @f(%0 "x": f32[-3]) {\n return %0 }', /line 1/],
  ["a dimension without bounds", 'fn @f(%0 "x": f32[n]) {\n return %0 }', /line 1, column 19: expected a dimension/],
  ["an unfinished text", 'fn @f(%0 "x', /line 1, column 10/],
  ["deep tuples", `fn @f(%0 "x": ${"(".repeat(100_000)}`, /nested/],
  [
    "exponential tuples",
    `fn @f(%0 "x": f32[]) {\n${Array.from({ length: 60 }, (_, i) => `%${i + 1} = tuple(%${i}, %${i}) : ()`).join("\n")}\nreturn %60 }`,
    /line 2/,
  ],
] as const)
  test(`${what} is told with its place`, () => {
    assert.throws(
      () => parse(text),
      (e) => e instanceof FormatError && message.test(e.message),
    );
  });

test("hostile text ends in a FormatError, soon", () => {
  const texts = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc
      .tuple(
        fc.oneof(arbitraryGraph({ dtypes: allDTypes, symbolic: true }), arbitraryKernel()),
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 40 }), fc.string({ maxLength: 6 })), { maxLength: 4 }),
      )
      .map(([fn, edits]) =>
        edits.reduce((text, [at, cut, put]) => {
          const place = at % (text.length + 1);
          return text.slice(0, place) + put + text.slice(place + cut);
        }, print(fn)),
      ),
  );
  fc.assert(
    fc.property(texts, (text) => {
      try {
        parse(text);
      } catch (e) {
        if (!(e instanceof FormatError)) throw e;
        assert.match(e.message, /line \d+, column \d+/);
      }
    }),
    { numRuns: 1500 },
  );
});

test("a bound symbol of a parsed function takes only values inside its bounds", () => {
  const fn = parse('dims n 2..8 multiple 2\nfn @f(%0 "x": f32[2*n*n-1]) {\n  return %0\n}\n');
  const type = fn.params[0]?.type as TensorType;
  assert.equal(bindDim(type.dims[0] as number, new Map([["n", 4]])), 31);
  assert.throws(() => bindDim(type.dims[0] as number, new Map([["n", 5]])), /multiple of 2 in 2\.\.8/);
});
