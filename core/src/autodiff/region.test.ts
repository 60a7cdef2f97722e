import assert from "node:assert/strict";
import { test } from "node:test";
import { type Fn, nodesOf } from "../ir/fn.ts";
import { tensorType } from "../ir/type.ts";
import { grad, matmul, region, type Tensor } from "../tensor/index.ts";
import { trace } from "../tensor/trace.ts";

const layer = region((w: Tensor, x: Tensor): Tensor => matmul(matmul(x, w).tanh(), w));

/** The functions that the gradients of a loss behind two layers call, by the end of their names, and how many products each has. */
function called(by: "w" | "x" | "both"): Readonly<Record<string, number>> {
  const { fn } = trace("f", [tensorType("f32", [4, 4]), tensorType("f32", [3, 4])], ([w, x]) => {
    const loss = (a: Tensor, b: Tensor): Tensor => layer(a, b).square().sum();
    const [weight, input] = [w as Tensor, x as Tensor];
    if (by === "w") return grad((a: Tensor) => loss(a, input))(weight);
    if (by === "x") return grad((b: Tensor) => loss(weight, b))(input);
    return grad(({ a, b }: { a: Tensor; b: Tensor }) => loss(a, b))({ a: weight, b: input });
  });
  const products = (f: Fn): number => nodesOf(f).filter((n) => n.op === "dot").length;
  return Object.fromEntries(
    nodesOf(fn).flatMap((n) => (n.op === "call" ? [[n.attr.fn.name.split(".")[1] ?? "", products(n.attr.fn)]] : [])),
  );
}

test("the backward of a region gives the gradients of its input and of its weights apart", () => {
  // Backward, each product is one for its input and one for its weights; the first product's input is the region's.
  assert.equal(called("both")["backward"], 4);
  assert.equal(called("x")["backward"], 2);
  assert.equal(called("w")["backward"], 3);
  // What is saved for either is the one product between them.
  assert.equal(called("x")["forward"], called("w")["forward"]);
});
