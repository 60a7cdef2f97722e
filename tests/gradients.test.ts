/** Derivatives against central finite differences in f64, for every differentiable op of the table: a new op without a sample
 *  fails. Then what derivatives do together: nesting, vjp, regions, jit, conditions, ties. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import * as s from "../core/src/index.ts";
import { device, grad, jit, region, Tensor, tensor, valueAndGrad, valueAndGradWith, vjp } from "../core/src/index.ts";
import type { Op } from "../core/src/ir/node.ts";
import { type DType, isFloat } from "../core/src/ir/dtype.ts";
import * as build from "../core/src/ops/build.ts";
import { define, ops } from "../core/src/ops/table.ts";
import { onEachDevice } from "./devices.ts";

type Function = (...x: Tensor[]) => Tensor;

interface Sample {
  readonly f: Function;
  /** Values of each argument, away from kinks. */
  readonly at: readonly (readonly number[])[];
  readonly shapes?: readonly (readonly number[])[];
}

const some = [0.7, -1.3, 2.1, 0.4, -0.6, 1.9];
const positive = [0.7, 1.3, 2.1, 0.4, 0.6, 1.9];
const others = [1.1, 0.8, -2.3, -1.7, 0.9, 1.4];
const unary = (f: Function, at = some): Sample => ({ f, at: [at] });
const binary = (f: Function, a = some, b = others): Sample => ({ f, at: [a, b] });
const indices = () => tensor([2, 0, 2, 1], { dtype: "i32" });
const doubled = region((x: Tensor, y: Tensor) => x.mul(2).tanh().mul(y), { name: "doubled" });

/** One sample or more of every op with a derivative. Shapes are [2, 3] unless said. */
const samples: Partial<Record<Op, readonly Sample[]>> = {
  neg: [unary(s.neg)],
  abs: [unary(s.abs)],
  sqrt: [unary(s.sqrt, positive)],
  rsqrt: [unary(s.rsqrt, positive)],
  exp: [unary(s.exp)],
  log: [unary(s.log, positive)],
  sin: [unary(s.sin)],
  cos: [unary(s.cos)],
  tanh: [unary(s.tanh)],
  erf: [unary(s.erf)],
  add: [binary(s.add)],
  sub: [binary(s.sub)],
  mul: [binary(s.mul)],
  div: [binary(s.div)],
  mod: [binary(s.mod)],
  pow: [binary(s.pow, positive), unary((x) => x.pow(3)), unary((x) => x.pow(-2)), unary((x) => s.pow(2.5, x))],
  max: [binary(s.maximum)],
  min: [binary(s.minimum)],
  where: [
    binary((a, b) =>
      s.where(
        tensor([
          [true, false, true],
          [false, true, false],
        ]),
        a,
        b,
      ),
    ),
  ],
  cast: [unary((x) => x.cast("f64").mul(x))],
  reshape: [unary((x) => x.reshape([3, 2]))],
  permute: [unary((x) => x.transpose())],
  expand: [{ f: (x) => x.broadcast([4, 2, 3]), at: [[0.7, -1.3]], shapes: [[2, 1]] }],
  pad: [
    unary((x) =>
      x.pad(
        [
          [1, 2],
          [0, 3],
        ],
        7,
      ),
    ),
  ],
  slice: [
    unary((x) => x.at(1, s.slice(0, 3, 2))),
    { f: (x) => x.at(s.slice(6, 0, -2)), at: [[1, 2, 3, 4, 5, 6, 7, 8]], shapes: [[8]] },
  ],
  flip: [unary((x) => x.flip([1]))],
  concat: [binary((a, b) => s.concat([a, b, a], 1))],
  reduce: [
    unary((x) => x.sum(0)),
    unary((x) => x.prod(1)),
    unary((x) => x.max(1)),
    unary((x) => x.min(0)),
    unary((x) => x.prod(), [0.7, 0, 2.1, 0.4, -0.6, 1.9]),
    unary((x) => x.prod(), [0.7, 0, 2.1, 0, -0.6, 1.9]),
  ],
  dot: [
    {
      f: s.matmul,
      at: [some, others],
      shapes: [
        [2, 3],
        [3, 2],
      ],
    },
    {
      f: (a, b) =>
        s.dot(a, b, {
          contract: [
            [0, 2],
            [2, 1],
          ],
          batch: [[1], [0]],
        }),
      at: [Array.from({ length: 12 }, (_, i) => Math.sin(i)), Array.from({ length: 24 }, (_, i) => Math.cos(i))],
      shapes: [
        [2, 2, 3],
        [2, 3, 2, 2],
      ],
    },
  ],
  gather: [
    unary((x) => x.take(indices(), 1)),
    unary((x) =>
      x.take(
        tensor(
          [
            [1, 0],
            [1, 1],
          ],
          { dtype: "i32" },
        ),
      ),
    ),
  ],
  scatter: [
    {
      f: (x, u) => x.scatter(indices(), u, { axis: 1 }),
      at: [some, [1, 2, 3, 4, 5, 6, 7, 8]],
      shapes: [
        [2, 3],
        [2, 4],
      ],
    },
    {
      f: (x, u) => x.scatter(indices(), u, { axis: 1, mode: "set" }),
      at: [some, [1, 2, 3, 4, 5, 6, 7, 8]],
      shapes: [
        [2, 3],
        [2, 4],
      ],
    },
  ],
  alias: [unary((x) => new Tensor(build.build("alias", [x.node], { tag: 0 })).sin())],
  assign: [binary((a, b) => new Tensor(build.assign(s.stopGradient(a).node, b.node)).mul(a))],
  call: [binary((a, b) => doubled(a, b).add(doubled(b, a)))],
};

/** Without a derivative, and why. */
const flat: Partial<Record<Op, string>> = {
  sign: "constant between its steps",
  floor: "constant between its steps",
  round: "constant between its steps",
  idiv: "constant between its steps",
  not: "not of floats",
  lt: "gives bool",
  eq: "gives bool",
  and: "not of floats",
  or: "not of floats",
  xor: "not of floats",
  shl: "not of floats",
  shr: "not of floats",
  bitcast: "bits are not a number",
  const: "no sources",
  param: "no sources",
  iota: "no sources",
  random: "a function of bits",
  stopGradient: "by definition",
  tuple: "dealt with by the driver",
  item: "dealt with by the driver",
};

test("every op of the table is differentiated here or said to be flat", () => {
  for (const op of Object.keys(ops) as Op[]) {
    const entry = define(op);
    if (entry.role === "kernel") continue;
    const hasRule = entry.vjp !== undefined || op === "call";
    assert.equal(hasRule, samples[op] !== undefined, `${op}: a derivative rule needs a sample, a sample a rule`);
    assert.equal(!hasRule, flat[op] !== undefined, `${op}: without a rule it must be said why`);
  }
});

const epsilon = 1e-6;

/** Weights that make a scalar of a result whose elements all count differently. */
const weighted = (y: Tensor): Tensor =>
  y.mul(s.sin(s.iota([y.size], 0, { dtype: "f64" }).add(1)).reshape(y.shape)).sum();

/** The differences of a scalar function by every element of every argument. */
async function differences(
  f: Function,
  at: readonly (readonly number[])[],
  shapes: readonly (readonly number[])[],
): Promise<number[][]> {
  const value = (moved: readonly (readonly number[])[]) => f(...moved.map((v, k) => f64(v, shapes[k])));
  return Promise.all(
    at.map((v, k) =>
      Promise.all(
        v.map(async (_, i) => {
          const shift = (by: number) => at.map((u, j) => (j === k ? u.map((x, l) => (l === i ? x + by : x)) : u));
          const [hi, lo] = await Promise.all([value(shift(epsilon)).item(), value(shift(-epsilon)).item()]);
          return (hi - lo) / (2 * epsilon);
        }),
      ),
    ),
  );
}

const f64 = (values: readonly number[], shape: readonly number[] = [2, 3]): Tensor =>
  tensor(Float64Array.from(values), { shape });

function near(actual: readonly number[], expected: readonly number[], what: string): void {
  expected.forEach((e, i) => {
    const a = actual[i] as number;
    assert.ok(Math.abs(a - e) <= 1e-5 + 1e-3 * Math.abs(e), `${what}[${i}]: ${a}, differences give ${e}`);
  });
}

const gradients =
  (f: Function) =>
  (x: readonly Tensor[]): readonly Tensor[] =>
    grad((v: readonly Tensor[]) => f(...v))(x);

for (const [op, list] of Object.entries(samples))
  onEachDevice(`${op}: first and second derivatives are those of finite differences`, async () => {
    for (const { f, at, shapes = at.map(() => [2, 3]) } of list ?? []) {
      const scalar: Function = (...x) => weighted(f(...x));
      // A product with a direction makes a scalar of the gradient.
      const slope: Function = (...x) =>
        gradients(scalar)(x)
          .map((g) => weighted(g))
          .reduce((a, b) => a.add(b));
      const x = at.map((v, k) => f64(v, shapes[k]));
      for (const [order, h] of [
        ["first", scalar],
        ["second", slope],
      ] as const) {
        const [exact, close] = [
          await Promise.all(gradients(h)(x).map((g) => g.data())),
          await differences(h, at, shapes),
        ];
        exact.forEach((g, k) => {
          assert.equal(g.length, close[k]?.length);
          near([...g].map(Number), close[k] as number[], `${op}, ${order} order, argument ${k}`);
        });
      }
    }
  });

test("the ops called flat give a zero gradient, not an error", async () => {
  await device("interpreter");
  for (const f of [
    s.sign,
    s.floor,
    s.round,
    s.stopGradient,
    (x: Tensor) => x.floorDivide(2),
    (x: Tensor) => x.less(1).cast("f64"),
  ])
    assert.deepEqual(await grad((x: Tensor) => f(x).sum())(f64(some)).toArray(), [
      [0, 0, 0],
      [0, 0, 0],
    ]);
});

before(() => device("interpreter"));

onEachDevice("a polynomial to the third derivative", async () => {
  const f = (x: Tensor) => x.mul(x).mul(x).mul(x).sub(x.mul(x).mul(3)).add(1);
  const x = tensor(1.5, { dtype: "f64" });
  const third = grad(grad(grad(f)));
  assert.equal(await grad(f)(x).item(), 4 * 1.5 ** 3 - 9);
  assert.equal(await grad(grad(f))(x).item(), 12 * 1.5 ** 2 - 6);
  assert.equal(await third(x).item(), 24 * 1.5);
  assert.equal(await jit(third)(x).item(), 24 * 1.5);
  assert.equal(await grad(jit(grad(jit(grad(f)))))(x).item(), 24 * 1.5);
});

onEachDevice("vjp pulls several cotangents back, as often as asked", async () => {
  const x = f64([1, 2, 3], [3]);
  const y = f64([4, 5, 6], [3]);
  const [out, pull] = vjp((a: Tensor, b: Tensor) => ({ product: a.mul(b), sum: a.add(b) }), x, y);
  assert.deepEqual(await out.product.toArray(), [4, 10, 18]);
  const [gx, gy] = pull({ product: f64([1, 0, 2], [3]), sum: f64([10, 20, 30], [3]) });
  assert.deepEqual(await gx.toArray(), [14, 20, 42]);
  assert.deepEqual(await gy.toArray(), [11, 20, 36]);
  const [again] = pull({ product: s.onesLike(x), sum: s.zerosLike(x) });
  assert.deepEqual(await again.toArray(), [4, 5, 6]);
  assert.throws(() => pull({ product: x } as never), s.TreeError);
  assert.throws(() => pull({ product: f64([1], [1]), sum: x }), s.ShapeError);
  const inJit = jit((a: Tensor, b: Tensor) => {
    const [r, back] = vjp((u: Tensor, v: Tensor) => u.sin().mul(v), a, b);
    return [r, ...back(s.onesLike(r))];
  });
  const [, gu] = inJit(x, y) as [Tensor, Tensor, Tensor];
  assert.ok(Math.abs((((await gu.toArray()) as number[])[0] as number) - Math.cos(1) * 4) < 1e-14);
});

onEachDevice("a value read on the way, or before the pull-back, changes no gradient", async () => {
  const x = f64([1, 2, 3], [3]);
  let seen: Promise<unknown> = Promise.resolve();
  const g = grad((v: Tensor) => {
    const y = v.mul(v).mul(v);
    seen = y.data();
    return y.sum();
  })(x);
  assert.deepEqual(await seen, Float64Array.of(1, 8, 27));
  assert.deepEqual(await g.toArray(), [3, 12, 27]);
  const [y, pull] = vjp((v: Tensor) => s.matmul(v.mul(v).reshape([1, 3]), v.reshape([3, 1])).sum(), x);
  assert.equal(await y.item(), 36);
  assert.deepEqual(await pull(tensor(1, { dtype: "f64" }))[0].toArray(), [3, 12, 27]);
  assert.deepEqual(await pull(tensor(2, { dtype: "f64" }))[0].toArray(), [6, 24, 54]);
});

onEachDevice("the third derivative of a product of three zeros is 1", async () => {
  const product = (...v: readonly Tensor[]) => s.concat(v.map((t) => t.reshape([1]))).prod();
  const [a, b, c] = [0, 0, 0].map((z) => tensor(z, { dtype: "f64" })) as [Tensor, Tensor, Tensor];
  const third = grad((z: Tensor) => grad((y: Tensor) => grad((x: Tensor) => product(x, y, z))(a))(b))(c);
  assert.equal(await third.item(), 1);
});

interface Layer {
  readonly w: Tensor;
  readonly b: Tensor;
}

const layers = (): Layer[] =>
  [1, 2, 3].map((n) => ({
    w: f64(
      Array.from({ length: 9 }, (_, i) => Math.sin(n * 10 + i)),
      [3, 3],
    ),
    b: f64([0.1 * n, -0.2 * n, 0.3], [3]),
  }));

const plainBlock = (l: Layer, x: Tensor): Tensor => s.matmul(x, l.w).add(l.b).tanh().add(x);
const block = region(plainBlock, { name: "block" });
const inner = region((x: Tensor, w: Tensor) => s.matmul(x, w).softmax(), { name: "inner" });
const outer = region(
  (l: Layer, x: Tensor) =>
    inner(x, l.w)
      .add(inner(x.mul(2), l.w))
      .mul(l.b),
  { name: "outer" },
);
const plainOuter = (l: Layer, x: Tensor): Tensor =>
  s
    .matmul(x, l.w)
    .softmax()
    .add(s.matmul(x.mul(2), l.w).softmax())
    .mul(l.b);

type Net = (ls: readonly Layer[], x: Tensor) => Tensor;
const chained =
  (f: (l: Layer, x: Tensor) => Tensor): Net =>
  (ls, x) =>
    ls
      .reduce((y, l) => f(l, y), x)
      .square()
      .sum();
const nets: readonly (readonly [string, Net, Net])[] = [
  ["different weights", chained(block), chained(plainBlock)],
  [
    "shared weights",
    (ls, x) => chained(block)([ls[0], ls[0], ls[0]] as Layer[], x),
    (ls, x) => chained(plainBlock)([ls[0], ls[0], ls[0]] as Layer[], x),
  ],
  [
    "the same arguments twice",
    (ls, x) =>
      block(ls[0] as Layer, x)
        .mul(block(ls[0] as Layer, x))
        .sum(),
    (ls, x) =>
      plainBlock(ls[0] as Layer, x)
        .square()
        .sum(),
  ],
  ["regions in regions", chained(outer), chained(plainOuter)],
  [
    "a region and its result used beside it",
    (ls, x) =>
      block(ls[1] as Layer, x)
        .mul(x)
        .sum(),
    (ls, x) =>
      plainBlock(ls[1] as Layer, x)
        .mul(x)
        .sum(),
  ],
];

async function sameLeaves(actual: unknown, expected: unknown, what: string): Promise<void> {
  const [a, e] = [s.tree.tensors(actual), s.tree.tensors(expected)];
  assert.deepEqual(
    a.map(({ path }) => path),
    e.map(({ path }) => path),
  );
  for (const [i, { path, tensor: t }] of a.entries()) {
    const [x, y] = await Promise.all([t.data(), (e[i] as (typeof e)[number]).tensor.data()]);
    x.forEach((v, j) =>
      assert.ok(
        Math.abs(Number(v) - Number(y[j])) <= 1e-12 * (1 + Math.abs(Number(y[j]))),
        `${what}: ${path}[${j}] ${v} ≠ ${y[j]}`,
      ),
    );
  }
}

onEachDevice("regions: value, gradient and second derivative are those of the plain function", async () => {
  const x = f64(some);
  for (const [what, withRegions, plain] of nets) {
    const first = (f: Net) => (ls: readonly Layer[], v: Tensor) => valueAndGrad(f)(ls, v);
    const curvature = (f: Net) => (ls: readonly Layer[], v: Tensor) =>
      grad((u: Tensor) =>
        s.tree
          .tensors(grad(f)(ls, u))
          .map((l) => weighted(l.tensor))
          .reduce((p, q) => p.add(q)),
      )(v);
    const ls = layers();
    await sameLeaves(first(withRegions)(ls, x), first(plain)(ls, x), what);
    await sameLeaves(jit(first(withRegions))(ls, x), first(plain)(ls, x), `${what}, jitted`);
    await sameLeaves(curvature(withRegions)(ls, x), curvature(plain)(ls, x), `${what}, second`);
    await sameLeaves(jit(curvature(withRegions))(ls, x), curvature(plain)(ls, x), `${what}, second, jitted`);
  }
});

onEachDevice("jit inside grad, grad inside jit", async () => {
  const f = (x: Tensor) => x.sin().mul(x).sum();
  const x = f64(some);
  const expected = await grad(f)(x).data();
  assert.deepEqual(await grad(jit(f))(x).data(), expected);
  const inside = await jit(grad(f))(x).data();
  inside.forEach((v, i) => assert.ok(Math.abs(Number(v) - Number(expected[i])) < 1e-14));
});

onEachDevice("the branch not taken may be NaN: the doubled condition keeps the gradient whole", async () => {
  const x = f64([-1, 4, 0, 9, -2, 1]);
  const safe = (v: Tensor) => {
    const inside = v.greater(0);
    return s.where(inside, s.where(inside, v, 1).sqrt(), 0).sum();
  };
  assert.deepEqual(await grad(safe)(x).toArray(), [
    [0, 0.25, 0],
    [1 / 6, 0, 0.5],
  ]);
  // The values of the branch not taken never show.
  assert.deepEqual(await s.where(x.greater(0), x.sqrt(), 0).toArray(), [
    [0, 2, 0],
    [3, 0, 1],
  ]);
  const direct = await grad((v: Tensor) => s.where(v.greater(0), v.mul(3), Number.NaN).sum())(x).toArray();
  assert.deepEqual(direct, [
    [0, 3, 0],
    [3, 0, 3],
  ]);
});

onEachDevice("a tie shares the gradient", async () => {
  const [a, b] = [f64([1, 2, -3], [3]), f64([1, -2, -3], [3])];
  for (const f of [s.maximum, s.minimum]) {
    const [ga, gb] = grad(([x, y]: readonly [Tensor, Tensor]) => f(x, y).sum())([a, b]);
    const [p, q] = [(await ga.toArray()) as number[], (await gb.toArray()) as number[]];
    assert.deepEqual([p[0], p[2], q[0], q[2]], [0.5, 0.5, 0.5, 0.5]);
  }
  assert.deepEqual(await grad((x: Tensor) => x.max())(f64([3, 1, 3, 3], [4])).toArray(), [1 / 3, 0, 1 / 3, 1 / 3]);
});

onEachDevice("stopGradient and arguments that are not used", async () => {
  const { used, unused } = grad(({ used: u }: { used: Tensor; unused: Tensor }) => u.mul(s.stopGradient(u)).sum())({
    used: f64([2, 3], [2]),
    unused: f64([1, 1], [2]),
  });
  assert.deepEqual(await used.toArray(), [2, 3]);
  assert.deepEqual(await unused.toArray(), [0, 0]);
  const constant = grad((x: Tensor) => s.stopGradient(x).sum())(f64(some));
  assert.deepEqual(await constant.data(), new Float64Array(6));
  const [[loss, aux], g] = valueAndGradWith(
    (x: Tensor) => [x.square().sum(), { doubled: x.mul(2), note: "kept" }] as const,
  )(f64([1, 2], [2]));
  assert.equal(await loss.item(), 5);
  assert.deepEqual(await aux.doubled.toArray(), [2, 4]);
  assert.equal(aux.note, "kept");
  assert.deepEqual(await g.toArray(), [2, 4]);
});

test("what cannot be differentiated says so", () => {
  const x = f64(some);
  assert.throws(() => grad((v: Tensor) => v)(x), /expected the function to return a float scalar, got f64\[2, 3\]/);
  assert.throws(() => grad((v: Tensor) => v.sum().cast("i32"))(x), s.ShapeError);
  assert.throws(
    () => grad((v: { w: Tensor; step: Tensor }) => v.w.sum())({ w: x, step: tensor([1], { dtype: "i32" }) }),
    /step is i32\[1\]; only floats/,
  );
  assert.ok((["f16", "bf16", "f32", "f64"] as DType[]).every(isFloat));
});

onEachDevice("a gradient through f16 and bf16 storage keeps the dtype of its variable", async () => {
  for (const dtype of ["f16", "bf16"] as const) {
    const g = grad((x: Tensor) => x.cast("f32").square().sum())(tensor([1, 2, 3], { dtype }));
    assert.equal(g.dtype, dtype);
    assert.deepEqual(await g.toArray(), [2, 4, 6]);
  }
});
