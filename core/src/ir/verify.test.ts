import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { arbitraryGraph, arbitraryKernel } from "../../../tests/arbitrary/graphs.ts";
import { rareOps } from "../../../tests/arbitrary/ops.ts";
import { VerifyError } from "../errors.ts";
import * as b from "../ops/build.ts";
import { newScope, ops } from "../ops/table.ts";
import { type Fn, makeFn, nodesOf } from "./fn.ts";
import type { Node, Op } from "./node.ts";
import { parse } from "./parse.ts";
import { within } from "./scope.ts";
import { tensorType } from "./type.ts";
import { type Level, verify } from "./verify.ts";

test("random graphs of both levels are legal, and hold every op", () => {
  const seen = new Set<Op>();
  const note = (level: Level) => (fn: Fn) => {
    verify(fn, level);
    for (const n of nodesOf(fn)) seen.add(n.op);
  };
  fc.assert(
    fc.property(arbitraryGraph({ dtypes: ["f32", "i32", "u32", "bool", "f16", "i64"], maxNodes: 30 }), note("tensor")),
    { numRuns: 800, seed: 1 },
  );
  fc.assert(fc.property(arbitraryKernel(), note("kernel")), { numRuns: 200, seed: 1 });
  assert.deepEqual([...seen].sort(), [...Object.keys(ops), ...rareOps].sort());
});

test("each level refuses the other's functions", () => {
  fc.assert(
    fc.property(arbitraryKernel(), (fn) => assert.throws(() => verify(fn, "tensor"), /not an op of the tensor level/)),
    { numRuns: 20 },
  );
  const fn = parse('fn @f(%0 "x": f32[6]) {\n  %1 = reshape(%0) {dims: [2, 3]} : f32[2, 3]\n  return %1\n}\n');
  assert.throws(() => verify(fn, "kernel"), /reshape is not an op of the kernel level\n {2}%1 = reshape/);
});

/** A copy of a node with parts of it changed, as a faulty pass might leave it. */
const forged = (node: Node, change: object): Node => ({ ...node, ...change });

const sum = () =>
  parse('fn @f(%0 "x": f32[2, 3], %1 "y": f32[2, 3]) {\n  %2 = add(%0, %1) : f32[2, 3]\n  return %2\n}\n');

for (const [what, plant, message] of [
  [
    "a wrong type",
    () => ({ type: tensorType("f32", [3, 2]) }),
    /its type should be f32\[2, 3\]\n {2}%2 = add\(%0, %1\) : f32\[3, 2\]/,
  ],
  ["a missing source", (n) => ({ src: n.src.slice(1) }), /add: expected 2 sources, got 1/],
  ["an attribute too many", () => ({ attr: { axis: 1 } }), /it has no attribute axis/],
  [
    "a missing attribute",
    () => ({ op: "reduce", attr: { axes: [0] } }),
    /its attribute kind should be one of sum, prod, max, min, not undefined/,
  ],
  ["an unknown op", () => ({ op: "frob" }), /frob is no op/],
  ["a scope of its own", () => ({ scope: newScope() }), /another scope/],
  [
    "a source of another dtype",
    (n) => ({
      src: [
        n.src[0],
        forged(n.src[1] as Node, {
          type: tensorType("i32", [2, 3]),
          attr: { index: 1, name: "y", type: tensorType("i32", [2, 3]) },
        }),
      ],
    }),
    /parameter of another function/,
  ],
  [
    "a fraction for an axis",
    (n) => ({ op: "gather", attr: { axis: 0.5 }, src: n.src }),
    /its attribute axis should be an integer of at least 0, not 0.5/,
  ],
] satisfies [string, (n: Node) => object, RegExp][])
  test(`${what} is found and told`, () => {
    const fn = sum();
    const bad = forged(fn.results[0] as Node, plant(fn.results[0] as Node));
    assert.throws(
      () => verify(makeFn("f", fn.params, [bad]), "tensor"),
      (e) => e instanceof VerifyError && message.test(e.message),
    );
  });

test("parameters stand in order", () => {
  const fn = sum();
  assert.throws(
    () => verify(makeFn("f", [...fn.params].reverse(), fn.results), "tensor"),
    /parameter 0 has the index 1/,
  );
  assert.throws(
    () => verify(makeFn("f", fn.params.slice(0, 1), fn.results), "tensor"),
    /parameter of another function/,
  );
});

test("a called function is verified too", () => {
  const inner = sum();
  const bad = makeFn("inner", inner.params, [forged(inner.results[0] as Node, { type: tensorType("f32", [6]) })]);
  const outer = within(newScope(), () => {
    const x = b.build("param", [], { index: 0, name: "x", type: tensorType("f32", [2, 3]) });
    return makeFn("outer", [x], [b.item(b.call(bad, [x, x]), 0)]);
  });
  assert.throws(() => verify(outer, "tensor"), /inner: its type should be/);
});

const head = 'fn @k(%0 "a": f32[12], %1 "out": f32[4]) {';
const range = (id: number, place: number, extent: number, kind: string) =>
  `%${place} = range() {extent: ${extent}, id: ${id}, kind: "${kind}"} : i32[]`;
const kernel = (order: string, ...lines: string[]) =>
  parse(`${head}\n${lines.join("\n")}\n%90 = nest(%80) {order: ${order}} : ()\n%91 = kernel(%90) : ()\nreturn %91\n}`);
const i = range(0, 10, 4, "loop");
const store = "%80 = store(%1, %10, %20) : ()";
const load = "%20 = load(%0, %10) : f32[]";

test("a plain kernel is legal", () => {
  verify(kernel("[0]", i, load, store), "kernel");
  verify(
    kernel(
      "[0, 1]",
      i,
      range(1, 11, 3, "reduce"),
      "%19 = load(%0, %11) : f32[]",
      '%20 = accumulate(%19, %11) {kind: "sum"} : f32[]',
      store,
    ),
    "kernel",
  );
});

for (const [what, fn, message] of [
  [
    "a range without an order",
    kernel("[]", i, load, store),
    /its nest orders nothing, not this range\n {2}%\d+ = range/,
  ],
  ["an order without its range", kernel("[0, 7]", i, load, store), /no store of it depends on range 7/],
  ["a range twice in the order", kernel("[0, 0]", i, load, store), /twice/],
  [
    "a reduce range that is walked",
    kernel("[0]", range(0, 10, 4, "reduce"), load, store),
    /walked only inside an accumulate/,
  ],
  [
    "an accumulation over an output loop",
    kernel("[0]", i, load, '%21 = accumulate(%20, %10) {kind: "sum"} : f32[]', "%80 = store(%1, %10, %21) : ()"),
    /a loop range cannot be accumulated over/,
  ],
  [
    "a range both accumulated and walked",
    kernel(
      "[0]",
      range(0, 10, 4, "unroll"),
      load,
      '%21 = accumulate(%20, %10) {kind: "sum"} : f32[]',
      "%80 = store(%1, %10, %21) : ()",
    ),
    /accumulated over, and used outside/,
  ],
  [
    "two ranges of one id",
    kernel("[0]", i, range(0, 11, 3, "loop"), "%20 = load(%0, %11) : f32[]", store),
    /two ranges of one nest have the id 0/,
  ],
  ["a store into nothing", kernel("[0]", i, load, "%80 = store(%20, %10, %20) : ()"), /expected a buffer, got load/],
  [
    "a float index",
    kernel("[0]", i, load, "%80 = store(%1, %20, %20) : ()"),
    /its index should be i32\[\], not f32\[\]/,
  ],
  [
    "a mask that is no bool",
    kernel("[0]", i, load, "%80 = store(%1, %10, %20, %10) : ()"),
    /its mask should be bool\[\]/,
  ],
  [
    "arithmetic on a buffer",
    kernel(
      "[0]",
      i,
      "%20 = load(%0, %10) : f32[]",
      "%30 = neg(%0) : f32[12]",
      "%31 = load(%30, %10) : f32[]",
      "%80 = store(%1, %10, %31) : ()",
    ),
    /scalar/,
  ],
  [
    "arithmetic on a storage dtype",
    kernel(
      "[0]",
      i,
      load,
      '%30 = cast(%20) {dtype: "f16"} : f16[]',
      "%31 = lt(%10, %10) : bool[]",
      "%32 = where(%31, %30, %30) : f16[]",
      '%33 = cast(%32) {dtype: "f32"} : f32[]',
      "%80 = store(%1, %10, %33) : ()",
    ),
    /only loaded, stored and cast/,
  ],
  [
    "two vector ranges",
    kernel(
      "[0, 1]",
      range(0, 10, 4, "vector"),
      range(1, 11, 2, "vector"),
      "%12 = add(%10, %11) : i32[]",
      "%20 = load(%0, %12) : f32[]",
      "%80 = store(%1, %12, %20) : ()",
    ),
    /at most one vector range/,
  ],
  [
    "a loop inside a vector range",
    kernel(
      "[0, 1]",
      range(0, 10, 2, "vector"),
      range(1, 11, 2, "loop"),
      "%12 = add(%10, %11) : i32[]",
      "%20 = load(%0, %12) : f32[]",
      "%80 = store(%1, %12, %20) : ()",
    ),
    /a vector range is the innermost, but range 1 lies inside it/,
  ],
  [
    "a buffer of two axes",
    parse('fn @k(%0 "a": f32[3, 4]) {\n%1 = kernel() : ()\nreturn %1\n}'),
    /expected a flat buffer/,
  ],
  ["a result that is no kernel", parse('fn @k(%0 "a": f32[3]) {\nreturn %0\n}'), /the single result of a kernel/],
] satisfies [string, Fn, RegExp][])
  test(`${what} is found and told`, () => {
    assert.throws(
      () => verify(fn, "kernel"),
      (e) => e instanceof VerifyError && message.test(e.message),
    );
  });
