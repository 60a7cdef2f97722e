import assert from "node:assert/strict";
import { test } from "node:test";
import { type Fn, nodesOf, topological } from "../ir/fn.ts";
import type { Node, NodeOf } from "../ir/node.ts";
import { tensorType } from "../ir/type.ts";
import { grad, jit, key, matmul, random, region, splitBackward, type Tensor, vmap } from "../tensor/index.ts";
import { trace } from "../tensor/trace.ts";

const layer = region((w: Tensor, x: Tensor): Tensor => matmul(matmul(x, w).tanh(), w));

const apart = splitBackward((w: Tensor, x: Tensor): Tensor => matmul(matmul(x, w).tanh(), w), { weights: [0] });

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

/** The gradients by both arguments of a loss behind three layers, and their function. */
function gradients(block: typeof layer) {
  const f = grad(({ w, x }: { w: Tensor; x: Tensor }) =>
    block(w, block(w.mul(2), block(w, x)))
      .square()
      .sum(),
  );
  const types = [tensorType("f32", [4, 4]), tensorType("f32", [3, 4])];
  const { fn } = trace("f", types, ([w, x]) => Object.values(f({ w: w as Tensor, x: x as Tensor })));
  return { f, fn };
}

const callsIn = (fn: Fn, name: string) =>
  nodesOf(fn).filter((n): n is NodeOf<"call"> => n.op === "call" && n.attr.fn.name.endsWith(`.${name}`));

test("gradients of a region's weights may wait: a call of their own, which no gradient of an input depends on", () => {
  const { fn } = gradients(apart);
  const [inputs, weights] = [callsIn(fn, "backwardInputs"), callsIn(fn, "backwardWeights")];
  assert.deepEqual([inputs.length, weights.length, callsIn(fn, "backward").length], [3, 3, 0]);
  const products = (n: NodeOf<"call"> | undefined) => nodesOf(n?.attr.fn as Fn).filter(({ op }) => op === "dot").length;
  // One for the gradient of each product's left side, none for a weight's; and those for the weights alone.
  assert.deepEqual([products(inputs[0]), products(weights[0])], [2, 2]);
  const waiting = new Set<Node>(weights);
  for (const call of inputs) assert.ok(!topological(call.src).some((n) => waiting.has(n)));
  for (const call of weights) {
    // Parameters, what the forward pass saved, cotangents, and values of its own region's first half.
    const other = topological(call.src).filter((n) => waiting.has(n));
    assert.equal(other.length, 0);
    const halves = call.src.flatMap((n) => (n.op === "item" ? [(n.src[0] as NodeOf<"call">).attr.fn.name] : []));
    assert.ok(halves.some((name) => name.endsWith(".backwardInputs")));
  }
});

test("gradients in two calls are those of one", async () => {
  const of = async (block: typeof layer): Promise<number[][]> => {
    const made = jit(gradients(block).f)({
      w: random.normal(key(1), [4, 4]),
      x: random.normal(key(2), [3, 4]),
    });
    return Promise.all([made.w, made.x].map(async (t) => Array.from(await t.data(), Number)));
  };
  assert.deepEqual(await of(apart), await of(layer));
});

test("a mapped region keeps its gradients apart; where one kind is wanted there is one call", () => {
  const both = ({ w, x }: { w: Tensor; x: Tensor }): Tensor => apart(w, x).square().sum();
  const types = [tensorType("f32", [4, 4]), tensorType("f32", [5, 3, 4])];
  const { fn } = trace("f", types, ([w, x]) =>
    Object.values(
      grad((all: { w: Tensor; x: Tensor }) => vmap((x: Tensor) => both({ w: all.w, x }))(all.x).sum())({
        w: w as Tensor,
        x: x as Tensor,
      }),
    ),
  );
  assert.deepEqual([callsIn(fn, "backwardInputs").length, callsIn(fn, "backwardWeights").length], [1, 1]);
  const one = trace("f", types, ([w, x]) => grad((w: Tensor) => both({ w, x: (x as Tensor).at(0) }))(w as Tensor)).fn;
  assert.deepEqual([callsIn(one, "backward").length, callsIn(one, "backwardInputs").length], [1, 0]);
});

test("the backward of a region gives the gradients of its input and of its weights apart", () => {
  // Backward, each product is one for its input and one for its weights; the first product's input is the region's.
  assert.equal(called("both")["backward"], 4);
  assert.equal(called("x")["backward"], 2);
  assert.equal(called("w")["backward"], 3);
  // What is saved for either is the one product between them.
  assert.equal(called("x")["forward"], called("w")["forward"]);
});
