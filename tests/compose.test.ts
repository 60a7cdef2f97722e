/** Transforms and loops in each other, nested at random over small functions, against the same in plain numbers: derivatives by central
 *  differences, loops and choices written out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  cond,
  customVjp,
  device,
  grad,
  jit,
  jvp,
  matmul,
  region,
  remat,
  scan,
  softmax,
  stack,
  type Tensor,
  tensor,
  vmap,
} from "sinan";

type Numbers = readonly number[];

/** One function twice: on tensors f64[3], and on plain numbers. `derivatives`: how deep central differences are nested in it. */
interface Both {
  readonly name: string;
  readonly tensors: (x: Tensor) => Tensor;
  readonly numbers: (x: Numbers) => Numbers;
  readonly derivatives: number;
}

const matrix = [
  [0.5, -0.3, 0.8],
  [0.1, 0.9, -0.4],
  [-0.7, 0.2, 0.3],
] as const;
const direction = [0.3, -0.8, 0.5] as const;
const f64 = (x: Numbers): Tensor => tensor(Float64Array.from(x));
const weights = (): Tensor => tensor(Float64Array.from(matrix.flat()), { shape: [3, 3] });

const softmaxOf = (x: Numbers): Numbers => {
  const e = x.map(Math.exp);
  const total = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / total);
};
const product = (x: Numbers): Numbers => [0, 1, 2].map((j) => x.reduce((s, v, i) => s + v * (matrix[i]?.[j] ?? 0), 0));

const custom = customVjp(
  (x: Tensor) => x.square().mul(0.5),
  (g, _, x) => [g.mul(x)],
);
const pushed = customVjp(
  (x: Tensor) => x.tanh(),
  (g, y) => [g.mul(y.square().neg().add(1))],
  { jvp: ([d], y) => d.mul(y.square().neg().add(1)) },
);

const keeping = customVjp(
  (x: Tensor) => x.tanh(),
  (g, { slope }: { readonly slope: Tensor }) => [g.mul(slope)],
  {
    forward: (x) => {
      const y = x.tanh();
      return [y, { slope: y.square().neg().add(1) }];
    },
  },
);

const leaves: readonly Both[] = [
  { name: "sin", tensors: (x) => x.sin(), numbers: (x) => x.map(Math.sin), derivatives: 0 },
  { name: "matmul", tensors: (x) => matmul(x, weights()), numbers: product, derivatives: 0 },
  { name: "softmax", tensors: (x) => softmax(x, -1), numbers: softmaxOf, derivatives: 0 },
  { name: "custom", tensors: custom, numbers: (x) => x.map((v) => (v * v) / 2), derivatives: 0 },
  { name: "pushed", tensors: pushed, numbers: (x) => x.map(Math.tanh), derivatives: 0 },
  { name: "keeping", tensors: keeping, numbers: (x) => x.map(Math.tanh), derivatives: 0 },
];

const moved = (x: Numbers, d: Numbers, h: number): Numbers => x.map((v, i) => v + h * (d[i] as number));
/** Small enough for the truncation, large enough for two of them nested. */
const h = 2e-4;
const slope = (f: (x: Numbers) => Numbers, x: Numbers, d: Numbers): Numbers => {
  const [up, down] = [f(moved(x, d, h)), f(moved(x, d, -h))];
  return up.map((v, i) => (v - (down[i] as number)) / (2 * h));
};
const sum = (x: Numbers): number => x.reduce((a, b) => a + b, 0);

const wrappers: Readonly<Record<string, (f: Both) => Omit<Both, "name">>> = {
  region: (f) => ({ ...f, tensors: region(f.tensors, { name: "r" }) }),
  remat: (f) => ({ ...f, tensors: remat(f.tensors, { name: "m" }) }),
  jit: (f) => ({ ...f, tensors: jit(f.tensors, { name: "j" }) }),
  vmap: (f) => ({
    ...f,
    tensors: (x) => vmap(f.tensors)(stack([x, x.mul(0.5)])).sum(0),
    numbers: (x) => {
      const [a, b] = [f.numbers(x), f.numbers(x.map((v) => v / 2))];
      return a.map((v, i) => v + (b[i] as number));
    },
  }),
  scan: (f) => ({
    ...f,
    tensors: (x) =>
      scan((c: Tensor, r: Tensor) => [f.tensors(c).mul(r), c.sum()], x, tensor(Float64Array.of(0.5, 0.8)))[0],
    numbers: (x) => {
      const once = f.numbers(x).map((v) => v * 0.5);
      return f.numbers(once).map((v) => v * 0.8);
    },
  }),
  cond: (f) => ({
    ...f,
    tensors: (x) =>
      cond(
        x.sum().greater(0.05),
        (u: Tensor) => f.tensors(u),
        (u: Tensor) => f.tensors(u.neg()),
        x,
      ),
    numbers: (x) => f.numbers(sum(x) > 0.05 ? x : x.map((v) => -v)),
  }),
  grad: (f) => ({
    derivatives: f.derivatives + 1,
    tensors: (x) => grad((u: Tensor) => f.tensors(u).sin().sum())(x),
    numbers: (x) => {
      const loss = (u: Numbers): Numbers => [sum(f.numbers(u).map(Math.sin))];
      return [0, 1, 2].map(
        (i) =>
          slope(
            loss,
            x,
            [0, 1, 2].map((k) => (k === i ? 1 : 0)),
          )[0] as number,
      );
    },
  }),
  jvp: (f) => ({
    derivatives: f.derivatives + 1,
    tensors: (x) => jvp(f.tensors, [x], [f64(direction)])[1],
    numbers: (x) => slope(f.numbers, x, direction),
  }),
};
const kinds = Object.keys(wrappers);

/** Leaves composed, then wrapped; a leaf may come between. */
const nest = (picks: readonly number[]): Both =>
  picks.slice(1).reduce(
    (f, pick): Both => {
      const name = kinds[pick % (kinds.length + 1)];
      if (name === undefined) {
        const leaf = leaves[pick % leaves.length] as Both;
        return {
          ...f,
          name: `${leaf.name}(${f.name})`,
          tensors: (x) => leaf.tensors(f.tensors(x)),
          numbers: (x) => leaf.numbers(f.numbers(x)),
        };
      }
      const wrap = wrappers[name] as (g: Both) => Omit<Both, "name">;
      return { ...wrap(f), name: `${name}(${f.name})` };
    },
    leaves[(picks[0] as number) % leaves.length] as Both,
  );

for (const name of ["interpreter", "cpu"])
  test(`nested transforms give what plain numbers give (${name})`, async () => {
    await device(name);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat({ max: 5039 }), { minLength: 3, maxLength: 6 }),
        fc.array(fc.integer({ min: -8, max: 8 }), { minLength: 3, maxLength: 3 }),
        async (picks, point) => {
          const f = nest(picks);
          fc.pre(f.derivatives <= 2);
          // Off the edge of the choice.
          const x = point.map((v) => v / 8 + 0.013);
          const actual = [...(await f.tensors(f64(x)).data())].map(Number);
          const expected = f.numbers(x);
          const scale = Math.max(1, ...expected.map(Math.abs));
          fc.pre(Number.isFinite(scale) && scale < 1e3);
          actual.forEach((a, i) =>
            assert.ok(Math.abs(a - (expected[i] as number)) < 1e-4 * scale, `${f.name}: ${a} is not ${expected[i]}`),
          );
        },
      ),
      { numRuns: name === "cpu" ? 30 : 150 },
    );
  });
