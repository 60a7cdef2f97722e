/** What a `remat` keeps, by policy; derivative rules of one's own in both directions; draws under vmap; jacobians in both modes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  checkpointName,
  cumsum,
  customVjp,
  grad,
  jacobian,
  jit,
  jvp,
  key,
  matmul,
  policies,
  random,
  remat,
  type RematPolicy,
  scan,
  ShapeError,
  stack,
  type Tensor,
  tensor,
  TraceError,
  vmap,
} from "sinan";
import { nodesOf } from "../core/src/ir/fn.ts";
import { print } from "../core/src/ir/print.ts";
import { tensorTypeOf } from "../core/src/ir/node.ts";
import { trace } from "../core/src/tensor/trace.ts";
import { onEachDevice } from "./devices.ts";

/** Two products with names, cheap operations between. */
const block = (w: Tensor, x: Tensor): Tensor =>
  checkpointName(matmul(checkpointName(matmul(x, w), "first").tanh().exp(), w), "second").sin();

/** What the forward half of the block hands to the backward one: by the names of its results beyond the block's own. */
function kept(save?: RematPolicy): string[] {
  const f = remat(block, save ? { save, name: "block" } : { name: "block" });
  const matrix = { dtype: "f32", dims: [4, 4] } as const;
  const { fn } = trace("kept", [matrix, matrix], ([w, x]) => grad((v: Tensor) => f(v, x as Tensor).sum())(w as Tensor));
  const forward = nodesOf(fn).find((n) => n.op === "call" && n.attr.fn.name === "block.forward");
  if (forward?.op !== "call") return [];
  return forward.attr.fn.results.slice(1).map((r) => (r.op === "named" ? r.attr.name : r.op));
}

test("a policy says what the backward pass finds", () => {
  assert.deepEqual(kept(), []);
  assert.deepEqual(kept(policies.nothing), []);
  assert.deepEqual(kept(policies.named("first")), ["first"]);
  assert.deepEqual(kept(policies.named("first", "second")), ["first", "second"]);
  assert.deepEqual(kept(policies.dots), ["dot", "dot"]);
  assert.ok(kept(policies.everything).includes("exp"));
  assert.deepEqual(
    kept(({ op }) => op === "tanh"),
    ["tanh"],
  );
});

onEachDevice("no policy changes a gradient", async () => {
  const [w, x] = [random.normal(key(1), [4, 4]).mul(0.5), random.normal(key(2), [3, 4])];
  const slope = (f: typeof block) => jit(grad((v: Tensor) => f(v, f(v, x)).square().sum()))(w).data();
  const plain = await slope(block);
  for (const save of [policies.nothing, policies.everything, policies.dots, policies.named("second")])
    (await slope(remat(block, { save }))).forEach((v: number | bigint, i: number) =>
      assert.ok(Math.abs(Number(v) - Number(plain[i])) <= 1e-4 * (1 + Math.abs(Number(plain[i])))),
    );
});

test("in a scan a policy says what each step stacks", () => {
  const stacked = (save: RematPolicy): number => {
    const f = remat((c: Tensor, w: Tensor) => matmul(c, w).tanh().exp(), { save });
    const matrix = { dtype: "f32", dims: [4, 4] } as const;
    const { fn } = trace("stacked", [matrix], ([w]) =>
      grad((v: Tensor) => scan((c: Tensor, _: null) => [f(c, v), null], v, null, { length: 5 })[0].sum())(w as Tensor),
    );
    const saving = nodesOf(fn).find((n) => n.op === "scan" && !n.attr.reverse);
    assert.ok(saving?.op === "scan");
    return saving.attr.fn.results.slice(1).reduce((sum, r) => sum + tensorTypeOf(r).dims.length / 2, 0);
  };
  // The carry itself; with the product, one more.
  assert.equal(stacked(policies.nothing), 1);
  assert.equal(stacked(policies.dots), 2);
});

onEachDevice("a forward rule of one's own is used, nested and mapped, and differentiated backwards", async () => {
  // Ten times the true tangent, to be told apart from it.
  const cube = customVjp(
    (x: Tensor) => x.mul(x).mul(x),
    (g, _, x) => [g.mul(x.square()).mul(3)],
    { jvp: ([d], _, x) => d.mul(x.square()).mul(30) },
  );
  const x = tensor([1, 2]);
  assert.deepEqual(await jvp(cube, [x], [tensor([1, 1])])[1].toArray(), [30, 120]);
  assert.deepEqual(await jit((v: Tensor) => jvp(cube, [v], [v])[1])(x).toArray(), [30, 240]);
  assert.deepEqual(await grad((v: Tensor) => cube(v).sum())(x).toArray(), [3, 12]);
  assert.deepEqual(await vmap((v: Tensor) => jvp(cube, [v], [v])[1])(x).toArray(), [30, 240]);
  // d/dx 30x² · 1
  assert.deepEqual(await grad((v: Tensor) => jvp(cube, [v], [tensor([1, 1])])[1].sum())(x).toArray(), [60, 120]);
  const wrong = customVjp(
    (v: Tensor) => v.mul(2),
    (g) => [g.mul(2)],
    { jvp: ([d]) => d.sum() },
  );
  assert.throws(() => jvp(wrong, [x], [x]), ShapeError);
  const outside = tensor([1, 2]);
  const reaching = customVjp(
    (v: Tensor) => v.mul(2),
    (g) => [g.mul(2)],
    { jvp: ([d]) => d.mul(outside) },
  );
  assert.throws(() => jvp(reaching, [x], [x]), TraceError);
});

onEachDevice("mapped draws are one draw of many keys, and those of each key", async () => {
  const keys = random.split(key(7), 5);
  const all = stack(keys);
  const draw = (k: Tensor) => random.normal(k, [3]).add(random.uniform(random.fold(k, 2), [3]));
  const mapped = await jit((k: Tensor) => vmap(draw)(k))(all).toArray();
  for (let i = 0; i < 5; i++) assert.deepEqual((mapped as number[][])[i], await draw(keys[i] as Tensor).toArray());
  const twice = vmap((k: Tensor) =>
    vmap((n: Tensor) => random.bits(random.fold(k, n), [2]))(tensor(Uint32Array.of(1, 2))),
  );
  const nested = (await twice(all).toArray()) as number[][][];
  for (let i = 0; i < 5; i++)
    assert.deepEqual(nested[i]?.[1], await random.bits(random.fold(keys[i] as Tensor, 2), [2]).toArray());
  const { fn } = trace("draws", [{ dtype: "u32", dims: [1000, 2] }], ([k]) => vmap(draw)(k as Tensor));
  assert.ok(nodesOf(fn).length < 200, String(nodesOf(fn).length));
});

onEachDevice("a jacobian is the same by rows and by columns", async () => {
  const w = random.normal(key(3), [2, 5]);
  const wide = (x: Tensor) => cumsum(matmul(x, w).sin(), 0).reshape([5]);
  const x = tensor([0.3, -0.7]);
  const [rows, columns] = [jacobian(wide, { mode: "reverse" })(x), jacobian(wide, { mode: "forward" })(x)];
  assert.deepEqual(columns.shape, [5, 2]);
  const [a, b, c] = [await rows.data(), await columns.data(), await jacobian(wide)(x).data()];
  a.forEach((v: number | bigint, i: number) => {
    assert.ok(Math.abs(Number(v) - Number(b[i])) < 1e-5);
    assert.equal(c[i], b[i]);
  });
  // Of the outer product.
  const outer = await jacobian((v: Tensor) => v.reshape([2, 1]).mul(v).reshape([4]))(tensor([3, -7])).data();
  assert.deepEqual(
    [...outer].map(Number).map((v) => v + 0),
    [6, 0, -7, 3, -7, 3, 0, -14],
  );
});

test("the tangent of an MLP, printed, has no reverse sweep: no product goes over the examples", () => {
  const types = [
    { dtype: "f32", dims: [3, 4] },
    { dtype: "f32", dims: [4, 2] },
    { dtype: "f32", dims: [5, 3] },
  ] as const;
  const { fn } = trace(
    "pushed",
    types,
    ([a, b, x]) =>
      jvp(
        (p: { a: Tensor; b: Tensor }) => matmul(matmul(x as Tensor, p.a).tanh(), p.b),
        [{ a, b } as never],
        [{ a, b } as never],
      )[1],
  );
  const text = print(fn);
  const products = text.split("\n").filter((line) => line.includes("= dot("));
  assert.equal(products.length, 4, text);
  for (const line of products) assert.match(line, /: f32\[(5, \d|\d, 5)\]/, text);
  assert.doesNotMatch(text, /reduce|scatter/, text);
});
