import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { arbitraryGraph, arbitrarySample, assertSameValues } from "../../../tests/arbitrary/graphs.ts";
import { evaluate } from "../interpreter/evaluate.ts";
import { fnEqual, nodesOf } from "../ir/fn.ts";
import { parse } from "../ir/parse.ts";
import { print } from "../ir/print.ts";
import { verify } from "../ir/verify.ts";
import { simplify } from "./simplify.ts";

const { run } = simplify();

/** The function as text with `body` between x: f32[2, 3], i: i32[2, 3], s: f32[]@host and the return of the last line. */
const fn = (...body: string[]) =>
  parse(
    `fn @f(%0 "x": f32[2, 3], %1 "i": i32[2, 3], %2 "s": f32[]@host, %3 "b": bool[2, 3]) {\n${body.join("\n")}\nreturn %${/^%(\d+)/.exec(body.at(-1) ?? "")?.[1]}\n}`,
  );

const splat = (
  id: number,
  value: string,
  dtype: string,
) => `%${id} = const() {dtype: "${dtype}", value: ${value}} : ${dtype}[]
%${id + 1} = reshape(%${id}) {dims: [1, 1]} : ${dtype}[1, 1]
%${id + 2} = expand(%${id + 1}) {dims: [2, 3]} : ${dtype}[2, 3]`;

const x = "f32[2, 3]";
const i = "i32[2, 3]";
for (const [what, body, expected] of [
  ["x + 0 of integers is x", [splat(4, "0", "i32"), `%7 = add(%1, %6) : ${i}`], ["return %1"]],
  ["0 + x too", [splat(4, "0", "i32"), `%7 = add(%6, %1) : ${i}`], ["return %1"]],
  ["x + 0 of floats stays, because of −0", [splat(4, "0", "f32"), `%7 = add(%0, %6) : ${x}`], ["add("]],
  [
    "x + −0 and x − 0 are x",
    [splat(4, "-0", "f32"), `%7 = add(%0, %6) : ${x}`, splat(8, "0", "f32"), `%11 = sub(%7, %10) : ${x}`],
    ["return %0"],
  ],
  ["1 · x is x", [splat(4, "1", "f32"), `%7 = mul(%6, %0) : ${x}`], ["return %0"]],
  ["x · −1 is −x", [splat(4, "-1", "f32"), `%7 = mul(%0, %6) : ${x}`], ["neg(%0)"]],
  ["x · 0 of floats stays, because of NaN", [splat(4, "0", "f32"), `%7 = mul(%0, %6) : ${x}`], ["mul("]],
  ["x · 0 of integers is 0", [splat(4, "0", "i32"), `%7 = mul(%1, %6) : ${i}`], ["value: 0}"]],
  ["−−x is x", [`%7 = neg(%0) : ${x}`, `%8 = neg(%7) : ${x}`], ["return %0"]],
  ["a + −b is a − b", [`%7 = neg(%0) : ${x}`, `%8 = add(%0, %7) : ${x}`], ["sub(%0, %0)"]],
  ["x / 4 is x · 0.25", [splat(4, "4", "f32"), `%7 = div(%0, %6) : ${x}`], ["value: 0.25}", "mul("]],
  ["x / 3 stays", [splat(4, "3", "f32"), `%7 = div(%0, %6) : ${x}`], ["div("]],
  ["pow(x, 2) is x · x", [splat(4, "2", "f32"), `%7 = pow(%0, %6) : ${x}`], ["mul(%0, %0)"]],
  [
    "constants are folded and rounded",
    [splat(4, "0.1", "f32"), `%7 = exp(%6) : ${x}`, `%8 = mul(%7, %7) : ${x}`],
    [`value: ${Math.fround(Math.fround(Math.exp(Math.fround(0.1))) ** 2)}}`],
  ],
  [
    "a comparison of constants picks the branch",
    [splat(4, "1", "f32"), splat(7, "2", "f32"), "%10 = lt(%6, %9) : bool[2, 3]", `%11 = where(%10, %0, %6) : ${x}`],
    ["return %0"],
  ],
  [
    "where(not c, a, b) is where(c, b, a)",
    ["%7 = not(%3) : bool[2, 3]", `%8 = neg(%0) : ${x}`, `%9 = where(%7, %0, %8) : ${x}`],
    ["where(%3, %4, %0)"],
  ],
  [
    "a reshape of a reshape is one, and back none",
    ["%7 = reshape(%0) {dims: [6]} : f32[6]", "%8 = reshape(%7) {dims: [3, 2]} : f32[3, 2]"],
    ["= reshape(%0) {dims: [3, 2]}"],
  ],
  [
    "and back is none",
    ["%7 = reshape(%0) {dims: [6]} : f32[6]", `%8 = reshape(%7) {dims: [2, 3]} : ${x}`],
    ["return %0"],
  ],
  [
    "a permutation undone is none",
    ["%7 = permute(%0) {axes: [1, 0]} : f32[3, 2]", `%8 = permute(%7) {axes: [1, 0]} : ${x}`],
    ["return %0"],
  ],
  [
    "a permutation of axes of 1 is a reshape",
    ["%7 = reshape(%0) {dims: [1, 2, 3]} : f32[1, 2, 3]", "%8 = permute(%7) {axes: [1, 2, 0]} : f32[2, 3, 1]"],
    ["= reshape(%0) {dims: [2, 3, 1]}"],
  ],
  [
    "a slice of a slice is one",
    [
      "%7 = slice(%0) {size: [2, 2], start: [0, 1], step: [1, 1]} : f32[2, 2]",
      "%8 = slice(%7) {size: [1, 1], start: [1, 1], step: [1, 1]} : f32[1, 1]",
    ],
    ["slice(%0) {size: [1, 1], start: [1, 2]"],
  ],
  ["a pad of nothing is none", [`%7 = pad(%0) {high: [0, 0], low: [0, 0], value: 3} : ${x}`], ["return %0"]],
  [
    "a widening cast on the way is skipped",
    ['%7 = cast(%0) {dtype: "f64"} : f64[2, 3]', '%8 = cast(%7) {dtype: "bf16"} : bf16[2, 3]'],
    ['= cast(%0) {dtype: "bf16"}'],
  ],
  [
    "a narrowing cast on the way stays",
    ['%7 = cast(%0) {dtype: "bf16"} : bf16[2, 3]', `%8 = cast(%7) {dtype: "f32"} : ${x}`],
    ['= cast(%0) {dtype: "bf16"}', "cast(%4)"],
  ],
  [
    "integer, float, integer stays: the one wraps, the other saturates",
    ['%7 = cast(%1) {dtype: "f64"} : f64[2, 3]', '%8 = cast(%7) {dtype: "u8"} : u8[2, 3]'],
    ["cast(%1)", "cast(%4)"],
  ],
  [
    "a part of a tuple is the part",
    ["%7 = tuple(%1, %0) : (i32[2, 3], f32[2, 3])", `%8 = item(%7) {index: 1} : ${x}`],
    ["return %0"],
  ],
  ["a host scalar does not become a device one", ['%7 = cast(%2) {dtype: "f32"} : f32[]'], ["cast(%2)"]],
] satisfies [string, string[], string[]][])
  test(what, () => {
    const text = print(run(fn(...body)));
    for (const part of expected) assert.ok(text.includes(part), text);
    const lines = text.split("\n").length;
    if (expected[0]?.startsWith("return")) assert.equal(lines, 4, text);
    if (expected[0]?.startsWith("= ")) assert.equal(lines, 4 + expected.length, text);
  });

test("marks go when they are told to", () => {
  const marked = fn(`%7 = stopGradient(%0) : ${x}`, `%8 = alias(%7) {tag: 3} : ${x}`);
  assert.equal(nodesOf(run(marked)).length, 6);
  assert.equal(nodesOf(simplify({ dropMarks: true }).run(marked)).length, 4);
});

test("a called function is simplified, once", () => {
  const outer = parse(`fn @g(%0 "x": f32[2]) {
  %1 = neg(%0) : f32[2]
  %2 = neg(%1) : f32[2]
  return %2
}
fn @f(%0 "x": f32[2]) {
  %1 = call(%0) {fn: @g} : (f32[2])
  %2 = item(%1) {index: 0} : f32[2]
  %3 = call(%2) {fn: @g} : (f32[2])
  %4 = item(%3) {index: 0} : f32[2]
  return %4
}`);
  assert.equal(print(run(outer)).split("neg").length, 1);
});

test("random graphs keep their bits", () => {
  const special = [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1.5, -2];
  fc.assert(
    fc.property(
      arbitrarySample({ dtypes: ["f32", "i32", "bool", "u32", "bf16", "u8"], maxNodes: 25 }),
      fc.nat(6),
      ({ fn, args }, at) => {
        for (const { dtype, data } of args)
          if (dtype === "f32" && data.length > 0) data[0] = (special[at] ?? 0) as never;
        const simple = run(fn);
        verify(simple, "tensor");
        assertSameValues(evaluate(simple, args), evaluate(fn, args), () => print(fn));
      },
    ),
    { numRuns: 500 },
  );
});

test("what is simple stays so", () => {
  fc.assert(
    fc.property(arbitraryGraph({ dtypes: ["f32", "i32", "bool"], symbolic: true, maxNodes: 20 }), (fn) => {
      const once = run(fn);
      verify(once, "tensor");
      const again = simplify().run(once);
      assert.ok(fnEqual(again, once), `${print(once)}\n${print(again)}`);
    }),
    { numRuns: 200 },
  );
});
