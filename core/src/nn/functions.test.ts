/** Activations, losses, norms and attention against PyTorch's numbers, finite differences, and the values at which the usual
 *  formulas fail. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { close, differences } from "../../../tests/close.ts";
import { onEachDevice } from "../../../tests/devices.ts";
import { type Loaded, loadCases, type OpCase } from "../../../tests/fixtures/load.ts";
import {
  device,
  DTypeError,
  grad,
  iota,
  key,
  logSumExp,
  nn,
  ones,
  random,
  ShapeError,
  sum,
  tensor,
  type Tensor,
  vjp,
} from "../index.ts";

type Apply = (inputs: readonly Tensor[], attr: OpCase["attr"]) => Tensor;
const first = (x: readonly Tensor[]): Tensor => x[0] as Tensor;

const ops: Readonly<Record<string, Apply>> = {
  relu: (x) => nn.relu(first(x)),
  sigmoid: (x) => nn.sigmoid(first(x)),
  silu: (x) => nn.silu(first(x)),
  softplus: (x) => nn.softplus(first(x)),
  tanh: (x) => nn.tanh(first(x)),
  "gelu-erf": (x) => nn.gelu(first(x)),
  "gelu-tanh": (x) => nn.geluTanh(first(x)),
  layer_norm: ([x, w, b], { epsilon }) => nn.functional.layerNorm(x as Tensor, w, b, { epsilon: epsilon as number }),
  rms_norm: ([x, w], { epsilon }) => nn.functional.rmsNorm(x as Tensor, w as Tensor, { epsilon: epsilon as number }),
  cross_entropy: ([x, y], { ignoreIndex }) =>
    nn.crossEntropy(x as Tensor, y as Tensor, ignoreIndex === undefined ? {} : { ignoreIndex: ignoreIndex as number }),
  mse_loss: ([x, y]) => nn.mseLoss(x as Tensor, y as Tensor),
  linear: ([x, w, b]) => nn.functional.linear(x as Tensor, w as Tensor, b),
  embedding: ([w, ids]) => nn.functional.embedding(ids as Tensor, w as Tensor),
};

const cases = loadCases("ops").cases.filter((c) => c.op in ops);
assert.ok(cases.length > 80, "the fixtures have cases of these functions");

/** The stored input behind its views. */
const viewed = (x: Tensor, c: OpCase, i: number): Tensor =>
  (c.inputs[i]?.views ?? []).reduce((y, v) => {
    if (v.op === "permute") return y.transpose(v.axes);
    if (v.op === "expand") return y.broadcast(v.shape);
    return y.at(...v.starts.map((start, a) => ({ start, end: v.stops[a], step: v.steps[a] })));
  }, x);

async function check(c: Loaded<OpCase>): Promise<void> {
  const stored = c.inputs.map((type, i) => {
    const { values } = c.tensor(`input${i}`);
    return tensor(type.dtype === "i32" ? Int32Array.from(values) : Float32Array.from(values), { shape: type.shape });
  });
  const floats = stored.flatMap((x, i) => (x.dtype === "f32" ? [i] : []));
  const run = (...given: Tensor[]): Tensor => {
    const inputs = [...stored];
    floats.forEach((i, k) => {
      inputs[i] = given[k] as Tensor;
    });
    return (ops[c.op] as Apply)(
      inputs.map((x, i) => viewed(x, c, i)),
      c.attr,
    );
  };
  const allowed = (error = 0) => ({ relative: 3e-6, absolute: Math.max(3e-6, 4 * error) });
  const [y, pull] = vjp(run, ...floats.map((i) => stored[i] as Tensor));
  assert.deepEqual(y.shape, c.output.shape);
  const grads = c.gradients
    ? pull(tensor(Float32Array.from(c.tensor("cotangent").values), { shape: c.output.shape }))
    : [];
  await close(y, c.tensor("output").values, allowed(c.error32?.output), "output");
  for (const [k, i] of (c.gradients ?? []).entries())
    await close(
      grads[floats.indexOf(i)] as Tensor,
      c.tensor(`grad${i}`).values,
      allowed(c.error32?.gradients?.[k]),
      `grad${i}`,
    );
}

for (const op of Object.keys(ops))
  onEachDevice(`${op} equals PyTorch`, async (t) => {
    const mine = cases.filter((c) => c.op === op);
    assert.ok(mine.length > 0);
    for (const c of mine) await t.test(c.name, () => check(c));
  });

const extremes = [-Infinity, -100, -88, -20, -1e-3, 0, 1e-3, 20, 88, 100, Infinity];

/** Values and derivatives at the extremes; the derivatives are of the exact functions. */
const known: Readonly<Record<string, readonly [(x: Tensor) => Tensor, (x: number) => number, (x: number) => number]>> =
  {
    sigmoid: [nn.sigmoid, (x) => 1 / (1 + Math.exp(-x)), (x) => 1 / (2 + Math.exp(x) + Math.exp(-x))],
    softplus: [nn.softplus, (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), (x) => 1 / (1 + Math.exp(-x))],
  };
for (const [name, [f, value, slope]] of Object.entries(known))
  onEachDevice(`${name} is right from −∞ to ∞, and so are its first two derivatives`, async () => {
    const x = tensor(extremes);
    // f32 has nothing between 0 and 1.4e-45; small results keep their relative precision above 1.2e-38.
    await close(f(x), extremes.map(value), { relative: 2e-6, absolute: 1e-38 }, name);
    await close(
      grad((z: Tensor) => f(z).sum())(x),
      extremes.map(slope),
      { relative: 2e-6, absolute: 1e-38 },
      `${name}'`,
    );
    const second = grad((z: Tensor) => grad((w: Tensor) => f(w).sum())(z).sum())(x);
    const h = 1e-4;
    await close(
      second,
      extremes.map((e) => (Number.isFinite(e) ? (slope(e + h) - slope(e - h)) / (2 * h) : 0)),
      { relative: 1e-4, absolute: 1e-6 },
      `${name}''`,
    );
  });

onEachDevice("log-sum-exp of a row of −∞ is −∞ with gradient 0", async () => {
  const x = tensor([
    [-Infinity, -Infinity],
    [100, -Infinity],
    [-100, 100],
  ]);
  await close(logSumExp(x, -1), [-Infinity, 100, 100]);
  await close(grad((z: Tensor) => logSumExp(z, -1).at({ start: 1 }).sum())(x), [0, 0, 1, 0, 0, 1]);
});

onEachDevice("cross entropy takes masked classes, and says so where the target itself is masked", async () => {
  const logits = tensor([
    [0, -Infinity, 0],
    [0, -Infinity, 0],
    [-Infinity, -Infinity, -Infinity],
    [1, 2, 3],
  ]);
  const targets = tensor(Int32Array.of(0, 1, 2, 7));
  await close(nn.crossEntropy(logits, targets, { reduction: "none" }), [Math.LN2, Infinity, Infinity, NaN]);
  await close(
    grad((z: Tensor) => nn.crossEntropy(z, targets, { reduction: "none" }).at({ end: 1 }).sum())(logits),
    [-0.5, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  );
});

onEachDevice("cross entropy of nothing counted is 0, smoothed as PyTorch's formula", async () => {
  const logits = tensor([
    [1, 2, 3],
    [0, 5, 1],
  ]);
  await close(nn.crossEntropy(logits, tensor(Int32Array.of(-1, -1)), { ignoreIndex: -1 }), [0]);
  const probabilities = [
    [1, 2, 3],
    [0, 5, 1],
  ].map((row) => row.map((x) => x - Math.log(row.reduce((s, y) => s + Math.exp(y), 0))));
  const expected = probabilities.map(
    (p, i) => -(0.9 * (p[[2, 0][i] as number] as number) + (0.1 / 3) * p.reduce((a, b) => a + b)),
  );
  await close(
    nn.crossEntropy(logits, tensor(Int32Array.of(2, 0)), { labelSmoothing: 0.1, reduction: "none" }),
    expected,
  );
  await close(nn.crossEntropy(logits, tensor(Int32Array.of(2, 0)), { labelSmoothing: 0.1, reduction: "sum" }), [
    (expected[0] as number) + (expected[1] as number),
  ]);
});

/** Without weights, or with ones of the input's dtype. In f16 the squares of large inputs are beyond the largest number, and so is the
 *  derivative of the root for small ones. */
const norms: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  rmsNorm: (x) => nn.functional.rmsNorm(x, ones([5], { dtype: x.dtype })),
  layerNorm: (x) => nn.functional.layerNorm(x),
  groupNorm: nn.groupNorm(2, 4, { affine: false }),
  "batchNorm, training": (x) => nn.batchNorm(4, { affine: false }).init(key(0))(x, { train: true }),
  batchNorm: (x) => nn.batchNorm(4, { affine: false }).init(key(0))(x),
};

onEachDevice("norms of 16 bits have f32's values and gradients, rounded: of large x and of small", async () => {
  for (const [name, f] of Object.entries(norms))
    for (const dtype of ["f16", "bf16"] as const)
      for (const size of [400, 1e-4]) {
        const x = random.normal(key(3), [2, 4, 5]).mul(size).cast(dtype);
        const loss = (v: Tensor): Tensor =>
          sum(
            f(v)
              .cast("f32")
              .mul(iota([2, 4, 5], 2).sub(1)),
          );
        const near = async (got: Tensor, want: Tensor): Promise<void> => {
          assert.equal(got.dtype, dtype, name);
          const expected = Array.from(await want.data(), Number);
          const most = Math.max(...expected.map(Math.abs));
          const relative = dtype === "f16" ? 2 ** -10 : 2 ** -7;
          await close(got.cast("f32"), expected, { relative, absolute: relative * most }, `${name} ${dtype} ${size}`);
        };
        await near(f(x), f(x.cast("f32")));
        await near(grad(loss)(x), grad(loss)(x.cast("f32")));
      }
});

test("losses refuse shapes and dtypes that do not fit", () => {
  assert.throws(() => nn.crossEntropy(tensor([[1, 2]]), tensor(Int32Array.of(0, 1))), ShapeError);
  assert.throws(() => nn.crossEntropy(tensor([[1, 2]]), tensor([0])), DTypeError);
  assert.throws(() => nn.mseLoss(tensor([[1, 2]]), tensor([1, 2])), ShapeError);
  assert.throws(() => nn.functional.rmsNorm(tensor([[1, 2]]), tensor([1, 2, 3])), ShapeError);
  assert.throws(() => nn.functional.linear(tensor([[1, 2]]), tensor([[1], [2]])), ShapeError);
});

/** Attention written out with loops in doubles. */
function attention(q: number[][], k: number[][], v: number[][], sees: (i: number, j: number) => boolean): number[][] {
  const scale = 1 / Math.sqrt((q[0] as number[]).length);
  return q.map((row, i) => {
    const e = k.map((key, j) =>
      sees(i, j) ? Math.exp(scale * key.reduce((s, x, d) => s + x * (row[d] as number), 0)) : 0,
    );
    const total = e.reduce((a, b) => a + b, 0);
    return (v[0] as number[]).map((_, d) =>
      total === 0 ? 0 : e.reduce((s, w, j) => s + w * ((v[j] as number[])[d] as number), 0) / total,
    );
  });
}

onEachDevice("attention with shared heads equals the sum written out", async () => {
  const [heads, kvHeads, T, S, D, E] = [4, 2, 3, 5, 4, 3];
  const make = (seed: number, h: number, t: number, d: number) =>
    Array.from({ length: h }, (_, a) =>
      Array.from({ length: t }, (_, b) => Array.from({ length: d }, (_, c) => Math.sin(seed + 7 * a + 3 * b + c * c))),
    );
  const [q, k, v] = [make(1, heads, T, D), make(2, kvHeads, S, D), make(3, kvHeads, S, E)];
  const [tq, tk, tv] = [tensor([q]), tensor([k]), tensor([v])];
  const expect = (sees: (i: number, j: number, h: number) => boolean) =>
    q.flatMap((rows, h) =>
      attention(rows, k[h >> 1] as number[][], v[h >> 1] as number[][], (i, j) => sees(i, j, h)).flat(),
    );
  await close(
    nn.scaledDotProductAttention(tq, tk, tv),
    expect(() => true),
  );
  await close(
    nn.scaledDotProductAttention(tq, tk, tv, { causal: true }),
    expect((i, j) => j <= i + S - T),
  );
  const mask = Array.from({ length: heads }, (_, h) =>
    Array.from({ length: T }, (_, i) => Array.from({ length: S }, (_, j) => (h + i + j) % 3 !== 0)),
  );
  const masked = expect((i, j, h) => (h + i + j) % 3 !== 0);
  await close(nn.scaledDotProductAttention(tq, tk, tv, { mask: tensor([mask]) }), masked);
  const additive = tensor([mask.map((m) => m.map((r) => r.map((seen) => (seen ? 0 : -Infinity))))]);
  await close(nn.scaledDotProductAttention(tq, tk, tv, { mask: additive }), masked);
  await close(
    nn.scaledDotProductAttention(tq, tk, tv, { mask: tensor([mask]), causal: true }),
    expect((i, j, h) => (h + i + j) % 3 !== 0 && j <= i + S - T),
  );
});

onEachDevice("a query that sees nothing gives 0 and has gradient 0", async () => {
  const x = tensor([
    [
      [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
    ],
  ]);
  const run = (z: Tensor) =>
    nn.scaledDotProductAttention(z, z, z, {
      mask: tensor([
        [false, false, false],
        [true, false, false],
        [true, true, true],
      ]),
    });
  const y = Array.from(await run(x).data(), Number);
  assert.deepEqual(y.slice(0, 4), [0, 0, 1, 2]);
  const g = Array.from(await grad((z: Tensor) => run(z).at(0, 0, 0).sum())(x).data(), Number);
  assert.deepEqual(g, [0, 0, 0, 0, 0, 0]);
  // More queries than keys: the first ones see nothing.
  const short = nn.scaledDotProductAttention(x, x.narrow(2, 0, 1), x.narrow(2, 0, 1), { causal: true });
  assert.deepEqual(Array.from(await short.data(), Number), [0, 0, 0, 0, 1, 2]);
});

test("attention says which shapes it wants", () => {
  const x = (...dims: number[]) => tensor(new Float32Array(dims.reduce((a, b) => a * b, 1)), { shape: dims });
  assert.throws(() => nn.scaledDotProductAttention(x(1, 3, 2, 4), x(1, 2, 5, 4), x(1, 2, 5, 4)), ShapeError);
  assert.throws(() => nn.scaledDotProductAttention(x(1, 2, 2, 4), x(1, 2, 5, 3), x(1, 2, 5, 3)), ShapeError);
  assert.throws(
    () => nn.scaledDotProductAttention(x(1, 2, 2, 4), x(1, 2, 5, 4), x(1, 2, 5, 4), { mask: x(3, 5) }),
    /mask that broadcasts/,
  );
});

onEachDevice("rope turns pairs by position · θ^(−2i/D)", async () => {
  const [T, D] = [5, 6];
  const { cos, sin } = nn.ropeTables(T, D, { theta: 100 });
  const x = Array.from({ length: T * D }, (_, i) => Math.cos(i * i));
  const expected = x.map((_, i) => {
    const [t, c] = [Math.floor(i / D), i % D];
    const angle = t * 100 ** ((-2 * (c % 3)) / D);
    const [a, b] = [x[t * D + (c % 3)] as number, x[t * D + (c % 3) + 3] as number];
    return c < 3 ? a * Math.cos(angle) - b * Math.sin(angle) : b * Math.cos(angle) + a * Math.sin(angle);
  });
  await close(nn.rope(tensor(x).reshape([1, 1, T, D]), cos, sin), expected);
  const [later] = [nn.ropeTables([3, 4], D, { theta: 100 })];
  await close(nn.rope(tensor(x).reshape([T, D]).narrow(0, 3, 2), later.cos, later.sin), expected.slice(3 * D));
  // Two heads of each token side by side, the second one of twice the size.
  const together = tensor(x)
    .reshape([T, 1, D])
    .mul(tensor([1, 2]).reshape([2, 1]));
  const tables = [cos, sin].map((t) => t.reshape([T, 1, D])) as [Tensor, Tensor];
  const heads = nn.rope(together, ...tables);
  await close(heads.narrow(1, 0, 1), expected);
  await close(heads.narrow(1, 1, 1).mul(0.5), expected);
});

test("gradients equal differences in doubles", async () => {
  await device("interpreter", { options: { exact: true } });
  const w = tensor(Float64Array.from({ length: 4 }, (_, i) => 1 + 0.1 * i));
  const { cos, sin } = nn.ropeTables(3, 4, { dtype: "f64" });
  const functions: Record<string, (x: Tensor) => Tensor> = {
    rmsNorm: (x) => nn.functional.rmsNorm(x, w),
    layerNorm: (x) => nn.functional.layerNorm(x, w, w),
    gelu: nn.gelu,
    geluTanh: nn.geluTanh,
    silu: nn.silu,
    softplus: nn.softplus,
    crossEntropy: (x) => nn.crossEntropy(x, tensor(Int32Array.of(3, 0, -1)), { ignoreIndex: -1, labelSmoothing: 0.2 }),
    rope: (x) => nn.rope(x, cos, sin),
    attention: (x) => {
      const heads = x.reshape([1, 1, 3, 4]);
      return nn.scaledDotProductAttention(heads.reshape([1, 2, 3, 2]), heads.narrow(3, 0, 2), heads.narrow(3, 2, 2), {
        causal: true,
      });
    },
    dropout: (x) => nn.functional.dropout(x, 0.5, random.key(3)),
  };
  const at = Float64Array.from({ length: 12 }, (_, i) => Math.sin(3 * i) * 1.5);
  for (const [name, f] of Object.entries(functions)) {
    const scalar = (x: Tensor) => f(x).mul(f(x)).sum();
    const read = (x: Float64Array) => scalar(tensor(x, { shape: [3, 4] })).item();
    await close(
      grad(scalar)(tensor(at, { shape: [3, 4] })),
      await differences(read, at),
      { relative: 1e-7, absolute: 1e-8 },
      name,
    );
  }
});
