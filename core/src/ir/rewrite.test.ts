import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { arbitraryGraph, arbitraryKernel } from "../../../tests/arbitrary/graphs.ts";
import { VerifyError } from "../errors.ts";
import * as b from "../ops/build.ts";
import { newScope } from "../ops/table.ts";
import { instantiate } from "./copy.ts";
import { fnEqual, makeFn } from "./fn.ts";
import type { Node } from "./node.ts";
import { parse } from "./parse.ts";
import { print } from "./print.ts";
import { copyInto, rewrite, type Rules, substitute } from "./rewrite.ts";
import { within } from "./scope.ts";
import { verify } from "./verify.ts";

const doubleNegation: Rules = { neg: ({ src: [x] }) => (x?.op === "neg" ? x.src[0] : undefined) };

const chain = (length: number) =>
  parse(
    `fn @chain(%0 "x": f32[2]) {\n${Array.from({ length }, (_, i) => `  %${i + 1} = neg(%${i}) : f32[2]`).join("\n")}\n  return %${length}\n}\n`,
  );

test("a rule fits until it fits no more, over a chain of 10 000 nodes", () => {
  assert.equal(print(rewrite(chain(10_000), doubleNegation)), 'fn @chain(%0 "x": f32[2]) {\n  return %0\n}\n');
  assert.equal(
    print(rewrite(chain(10_001), doubleNegation)),
    'fn @chain(%0 "x": f32[2]) {\n  %1 = neg(%0) : f32[2]\n  return %1\n}\n',
  );
});

test("what a rule makes is rewritten too", () => {
  const fn = parse(
    'fn @f(%0 "x": f32[2], %1 "y": f32[2]) {\n  %2 = sub(%0, %1) : f32[2]\n  %3 = exp(%2) : f32[2]\n  return %3, %2\n}\n',
  );
  const rules: Rules = {
    sub: ({ src: [x, y] }) => b.add(x as Node, b.neg(y as Node)),
    neg: ({ src: [x] }) => b.mul(x as Node, b.constantLike(x as Node, -1)),
    exp: ({ src: [x] }) => (x?.op === "add" ? b.mul(b.exp(x.src[0] as Node), b.exp(x.src[1] as Node)) : undefined),
  };
  const out = rewrite(fn, rules);
  assert.deepEqual(
    [...print(out).matchAll(/= (\w+)/g)].map(([, op]) => op),
    ["exp", "const", "reshape", "expand", "mul", "exp", "mul", "add"],
  );
  verify(out, "tensor");
});

test("no rules: the same function in a fresh scope, with its lines", () => {
  fc.assert(
    fc.property(fc.oneof(arbitraryGraph(), arbitraryKernel()), (fn) => {
      const copy = rewrite(fn, {});
      assert.ok(fnEqual(copy, fn));
      assert.notEqual(copy.results[0]?.scope, fn.results[0]?.scope);
      assert.equal(rewrite(fn, {}, fn.results[0]?.scope), fn);
    }),
  );
  const text =
    'fn @f(%0 "x": f32[2]) {\n  %1 = neg(%0) : f32[2]  // a.ts:1\n  %2 = exp(%1) : f32[2]  // a.ts:2\n  return %2\n}\n';
  assert.equal(print(rewrite(parse(text), {})), text);
});

for (const [what, rules] of [
  ["undo each other", { neg: ({ src: [x] }) => b.abs(x as Node), abs: ({ src: [x] }) => b.neg(x as Node) }],
  ["wrap their own node", { neg: (n) => b.exp(n) }],
  ["grow without end", { neg: ({ src: [x] }) => b.neg(b.add(x as Node, b.constantLike(x as Node, 1))) }],
  [
    "count without end",
    {
      const: ({ attr: { value, dtype } }) => b.scalar(value + 1, dtype),
      neg: ({ src: [x] }) => b.constantLike(x as Node, 0),
    },
  ],
] satisfies [string, Rules][])
  test(`rules that ${what} are an error, not a hang`, () => {
    assert.throws(() => rewrite(chain(1), rules), VerifyError);
  });

test("substitute puts a value in place of another; the rest is shared", () => {
  const fn = parse(
    'fn @f(%0 "x": f32[2]) {\n  %1 = neg(%0) : f32[2]\n  %2 = exp(%1) : f32[2]\n  %3 = add(%2, %0) : f32[2]\n  return %3\n}\n',
  );
  const [x] = fn.params as readonly Node[];
  const sum = fn.results[0] as Node;
  const exp = sum.src[0] as Node;
  const [out] = substitute([sum], new Map([[exp.src[0] as Node, x as Node]]));
  assert.deepEqual([out?.op, out?.src[0]?.op, out?.src[0]?.src[0], out?.src[1]], ["add", "exp", x, x]);
  assert.equal(substitute([sum], new Map())[0], sum);
});

test("instantiate builds a body over arguments, copyInto brings it to another scope", () => {
  const fn = chain(3);
  const scope = newScope();
  const [twice] = within(scope, () => {
    const x = b.build("param", [], { index: 0, name: "x", type: fn.params[0]?.type as never });
    return [makeFn("twice", [x], instantiate(fn, instantiate(fn, [x])))];
  });
  assert.ok(twice && fnEqual(twice, chain(6)));
  assert.equal(print(twice as never).split("neg").length - 1, 6);
  const other = newScope();
  const [copied] = copyInto(other, fn.results);
  assert.equal(copied?.scope, other);
});
