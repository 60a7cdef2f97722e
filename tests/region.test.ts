/** Regions: traced once, whoever calls them, and meaning the same as their body written out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { llama, llamaConfig, loss } from "@sinan/llm";
import {
  customVjp,
  grad,
  jit,
  jvp,
  key,
  matmul,
  random,
  region,
  remat,
  ShapeError,
  type Tensor,
  tensor,
  TraceError,
  tree,
  valueAndGrad,
  vmap,
} from "sinan";
import { absorb } from "../core/src/compiler/absorb.ts";
import { type Fn, nodesOf } from "../core/src/ir/fn.ts";
import { dimsOf, type Node } from "../core/src/ir/node.ts";
import { tensorType } from "../core/src/ir/type.ts";
import { trace } from "../core/src/tensor/trace.ts";
import { onEachDevice } from "./devices.ts";

const x = () => tensor([1, 2, 3]);

onEachDevice("a region takes numbers", async () => {
  const scale = region((t: Tensor, by: number) => t.mul(by).sum());
  const f = jit((t: Tensor, n: number) => scale(t, n).add(scale(t, 2)));
  assert.equal(await f(x(), 10).item(), 72);
  assert.equal(await f(x(), 1).item(), 18);
});

onEachDevice("a region that captures a tensor of a trace is traced anew in another trace", async () => {
  let shift = tensor(0);
  const moved = region((t: Tensor) => t.add(shift));
  const f = (by: number) =>
    jit((t: Tensor, n: number) => {
      shift = t.sum().mul(n);
      return moved(moved(t)).sum();
    })(x(), by);
  assert.equal(await f(1).item(), 42);
  assert.equal(await f(2).item(), 78);
});

onEachDevice("a region in a jit captures the jit's numbers", async () => {
  const f = jit((t: Tensor, n: number) => region((u: Tensor) => u.mul(n).sum())(t));
  assert.equal(await f(x(), 3).item(), 18);
});

onEachDevice("a region's body runs once for each structure", async () => {
  let runs = 0;
  const layer = region((w: Tensor, t: Tensor) => {
    runs++;
    return t.mul(w).tanh();
  });
  const net = (t: Tensor) => layer(tensor([0.5, 1, 2]), layer(tensor([1, 2, 3]), layer(tensor([3, 1, 1]), t))).sum();
  const plain = (t: Tensor) =>
    t
      .mul(tensor([3, 1, 1]))
      .tanh()
      .mul(tensor([1, 2, 3]))
      .tanh()
      .mul(tensor([0.5, 1, 2]))
      .tanh()
      .sum();
  const [a, b] = [jit((t: Tensor) => grad(net)(t))(x()), grad(plain)(x())];
  assert.equal(runs, 1);
  const [left, right] = [await a.data(), await b.data()];
  left.forEach((v: number | bigint, i: number) => assert.ok(Math.abs(Number(v) - Number(right[i])) < 1e-6));
});

onEachDevice("a rule of one's own is used, in grad, jit and vmap, and is itself differentiated", async () => {
  const cube = customVjp(
    (x: Tensor) => x.mul(x).mul(x),
    // Twice the true gradient, to be told apart from it.
    (g, _, x) => [g.mul(x.square()).mul(6)],
  );
  const f = (x: Tensor) => cube(x).sum();
  assert.deepEqual(await grad(f)(x()).toArray(), [6, 24, 54]);
  assert.deepEqual(await jit(grad(f))(x()).toArray(), [6, 24, 54]);
  assert.deepEqual(await grad((v: Tensor) => grad(f)(v).sum())(x()).toArray(), [12, 24, 36]);
  assert.deepEqual(await vmap((v: Tensor) => grad((u: Tensor) => cube(u))(v))(x()).toArray(), [6, 24, 54]);
  assert.equal(await jvp(f, [x()], [tensor([1, 0, 1])])[1].item(), 60);
  const scaled = customVjp(
    (v: Tensor, w: Tensor) => v.mul(w),
    (g, _, v) => [null, g.mul(v).sum().mul(10)],
  );
  const gw = grad((w: Tensor) => vmap((v: Tensor) => scaled(v, w))(x()).sum())(tensor(2));
  assert.equal(await gw.item(), 60);
});

onEachDevice("a rule is given what the forward pass kept, which is computed once", async () => {
  const layer = customVjp(
    (w: Tensor, v: Tensor) => matmul(v, w).tanh(),
    // Ten times the true gradient of w, to be told apart from it.
    (g, { slope }: { readonly slope: Tensor }, w, v) => {
      const moved = g.mul(slope);
      return [matmul(v.transpose(), moved).mul(10), matmul(moved, w.transpose())];
    },
    {
      forward: (w, v) => {
        const y = matmul(v, w).tanh();
        return [y, { slope: y.square().neg().add(1) }];
      },
    },
  );
  const [w, v] = [random.normal(key(1), [4, 4]), random.normal(key(2), [3, 4])];
  const plain = await grad((p: Tensor) => matmul(v, p).tanh().sum())(w).data();
  const loss = (p: Tensor) => layer(p, v).sum();
  const rows = (p: Tensor) => vmap((r: Tensor) => layer(p, r.expandDims(0)).sum())(v).sum();
  for (const derived of [grad(loss), jit(grad(loss)), grad(rows), jit(grad(rows))])
    (await derived(w).data()).forEach((d: number | bigint, i: number) =>
      assert.ok(Math.abs(Number(d) - 10 * Number(plain[i])) <= 1e-4 * (1 + Math.abs(Number(d)))),
    );
  const matrix = { dtype: "f32", dims: [4, 4] } as const;
  const { fn } = trace("step", [matrix], ([p]) => valueAndGrad((q: Tensor) => layer(q, v).sum())(p as Tensor));
  const dots = (f: Fn): number =>
    nodesOf(f).reduce((n, node) => n + (node.op === "dot" ? 1 : node.op === "call" ? dots(node.attr.fn) : 0), 0);
  // The product, and one for each gradient, of which that of v falls away later; the body itself is absorbed.
  assert.equal(dots(absorb(fn)), 3);
});

test("in a loss of chunks no product of the output layer is made twice", () => {
  const config = llamaConfig("llama-tiny", { vocabSize: 1009, hiddenSize: 16, numHiddenLayers: 1 });
  const ids = tensor(
    Int32Array.from({ length: 32 }, (_, i) => i),
    { shape: [2, 16] },
  );
  const model = llama(config).init(key(1));
  const types = tree.tensors(model).map(({ tensor: { dtype, shape } }) => tensorType(dtype, shape));
  const { fn } = trace("step", types, (weights) => {
    let i = 0;
    const own = tree.map((t) => weights[i++] ?? t, model);
    return valueAndGrad((m: typeof model) => loss(m, ids, ids, undefined, { chunk: 8 }))(own);
  });
  const dots = (f: Fn): number =>
    nodesOf(f).reduce((n, node) => {
      if (node.op === "call" || node.op === "scan") return n + dots(node.attr.fn);
      return node.op === "dot" && ([node, ...node.src] as Node[]).some((x) => dimsOf(x).includes(1009)) ? n + 1 : n;
    }, 0);
  // Logits, the gradient of what goes in, that of the weights.
  assert.equal(dots(absorb(fn)), 3);
});

onEachDevice("a forward pass that gives another result, or reaches outside, is refused", async () => {
  const rule = (g: Tensor, kept: Tensor) => [g.mul(kept)] as const;
  const outside = tensor([1, 2, 3]);
  const call = (forward: (v: Tensor) => readonly [Tensor, Tensor]) =>
    customVjp((v: Tensor) => v.mul(2), rule, { forward })(x());
  assert.throws(() => call((v) => [v.sum(), v]), ShapeError);
  assert.throws(() => call((v) => [v.mul(2), outside]), TraceError);
});

onEachDevice("a rule that reaches outside, or gives a wrong shape, is refused", async () => {
  const outside = tensor([1, 2, 3]);
  assert.throws(
    () =>
      customVjp(
        (v: Tensor) => v.mul(2),
        (g) => [g.mul(outside)],
      )(x()),
    TraceError,
  );
  assert.throws(
    () =>
      customVjp(
        (v: Tensor) => v.mul(2),
        () => [tensor(1)],
      )(x()),
    ShapeError,
  );
});

onEachDevice("remat gives the same gradients and keeps nothing", async () => {
  const layer = (w: Tensor, t: Tensor) => matmul(t, w).tanh();
  const [w, t] = [random.normal(key(1), [16, 16]), random.normal(key(2), [8, 16])];
  const loss = (f: typeof layer) => (p: Tensor) =>
    f(p, f(p, f(p, t)))
      .square()
      .sum();
  const plain = await jit(grad(loss(region(layer))))(w).data();
  const cheap = await jit(grad(loss(remat(layer))))(w).data();
  const lazy = await grad(loss(remat(layer)))(w).data();
  plain.forEach((v: number | bigint, i: number) => {
    for (const other of [cheap, lazy])
      assert.ok(Math.abs(Number(v) - Number(other[i])) <= 1e-5 * (1 + Math.abs(Number(v))));
  });
});
