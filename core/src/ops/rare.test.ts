/** Ops of rare families: unknown until the module of their builders is loaded, ordinary ones from then on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FormatError, VerifyError } from "../errors.ts";
import { makeFn } from "../ir/fn.ts";
import type { Node } from "../ir/node.ts";
import { parse } from "../ir/parse.ts";
import { print } from "../ir/print.ts";
import { within } from "../ir/scope.ts";
import { tensorType } from "../ir/type.ts";
import { verify } from "../ir/verify.ts";
import { newScope } from "./table.ts";

const text = `fn @f(%0 "x": f32[2, 3]) {
  %1 = cumulate(%0) {axis: 1, kind: "max", reverse: true} : f32[2, 3]
  return %1
}
`;

test("an op of a family that is not loaded is refused with a way out; loaded, it is parsed, verified and printed", async () => {
  assert.throws(
    () => parse(text),
    (e) => e instanceof FormatError && /whose module is loaded/.test(e.message),
  );
  const scope = newScope();
  const x = scope.make("param", [], { index: 0, name: "x", type: tensorType("f32", [2, 3]) });
  assert.throws(
    () => scope.make("cumulate", [x as Node], { kind: "sum", axis: 1, reverse: false }),
    (e) => e instanceof VerifyError && /import the module that has its builder/.test(e.message),
  );

  const { cumulate } = await import("./cumulative.ts");
  const fn = parse(text);
  verify(fn, "tensor");
  assert.equal(print(fn), text);
  const built = within(scope, () => makeFn("f", [x], [cumulate("max", [x as Node], 1, true)]));
  assert.equal(print(built), text);
  assert.throws(() => parse(text.replace("true", "maybe")), FormatError);
  assert.throws(() => parse(text.replace(", reverse: true", "")), /reverse/);
});
