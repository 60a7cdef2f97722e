/** Products of which both operands are bf16, on the native tier: their values beside sums in doubles, one row alone and in a batch, with any
 *  number of threads; NaN, infinities and denormals. Where the processor adds two products at a time, these are what is tested. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { device, jit, key, matmul, maximum, random, slice, tensor, type Tensor, transpose } from "../core/src/index.ts";
import { callOf } from "../core/src/tensor/jit.ts";
import { noNative } from "./devices.ts";

type Layout = "nn" | "nt" | "tn" | "tt";
interface Case {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly layout: Layout;
}

/** Rows of one tile and of several, columns that leave some over, terms that are no pairs, and more than blocks of them. */
const cases: readonly Case[] = [
  { m: 1, n: 37, k: 96, layout: "nt" },
  { m: 13, n: 37, k: 96, layout: "nt" },
  { m: 40, n: 150, k: 258, layout: "nt" },
  { m: 1, n: 100, k: 64, layout: "nn" },
  { m: 40, n: 150, k: 130, layout: "nn" },
  { m: 50, n: 70, k: 34, layout: "tn" },
  { m: 5, n: 33, k: 34, layout: "tn" },
  { m: 30, n: 64, k: 48, layout: "tt" },
  { m: 20, n: 40, k: 67, layout: "nn" },
];

const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);
const at = (of: readonly number[], i: number): number => of[i] as number;

const product = (layout: Layout, rounds: boolean): ((x: Tensor, y: Tensor) => Tensor) => {
  const wide = (x: Tensor): Tensor => (rounds ? x : x.cast("f32"));
  return jit((x: Tensor, y: Tensor) =>
    matmul(wide(layout.startsWith("t") ? transpose(x) : x), wide(layout.endsWith("t") ? transpose(y) : y)),
  );
};

/** x [m, k] and y [n, k] as they are laid out. */
const laid = ({ layout }: Case, x: Tensor, y: Tensor): readonly [Tensor, Tensor] => [
  layout.startsWith("t") ? transpose(x).add(0) : x,
  layout.endsWith("t") ? y : transpose(y).add(0),
];

const operands = ({ m, n, k }: Case, seed: number): readonly [Tensor, Tensor] => [
  random.normal(key(seed), [m, k]).cast("bf16"),
  random.normal(key(seed + 1), [n, k]).cast("bf16"),
];

/** Asserts that each result is its sum, within a rounding of 2⁻²⁴ for each term, and one of 2⁻⁸ if it is bf16. */
function assertNear(got: readonly number[], x: readonly number[], y: readonly number[], one: Case, last: number): void {
  const { m, n, k, layout } = one;
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let [total, size] = [0, 0];
      for (let t = 0; t < k; t++) {
        const term = at(x, i * k + t) * at(y, j * k + t);
        total += term;
        size += Math.abs(term);
      }
      const most = k * 2 ** -24 * size;
      const error = Math.abs(at(got, i * n + j) - total);
      assert.ok(
        error <= most + last * (Math.abs(total) + most),
        `${layout}, ${m}×${n}×${k} [${i}, ${j}] is ${error} off`,
      );
    }
}

/** Every other one is rounded to bf16. */
const isRounded = (i: number): boolean => i % 2 === 1;
const all = jit((given: readonly (readonly [Tensor, Tensor])[]) =>
  given.map(([x, y], i) => product((cases[i] as Case).layout, isRounded(i))(x, y)),
);

async function values(threads: number): Promise<number[][]> {
  await device("cpu:native", { options: { threads, grain: 1 } });
  return Promise.all(all(cases.map((one, i) => laid(one, ...operands(one, i)))).map(numbers));
}

test("values, and the same bits with 1, 2 and 5 threads", { skip: noNative }, async () => {
  const one = await values(1);
  for (const [i, of] of cases.entries()) {
    const [x, y] = await Promise.all(operands(of, i).map(numbers));
    assertNear(one[i] as number[], x as number[], y as number[], of, isRounded(i) ? 2 ** -8 : 0);
  }
  for (const threads of [2, 5]) assert.deepEqual(await values(threads), one, `${threads} threads`);
});

test("random products, with what is fused into them", { skip: noNative }, async () => {
  await device("cpu:native", { options: { threads: 2, grain: 1 } });
  const arbitrary = fc.record({
    m: fc.integer({ min: 1, max: 34 }),
    n: fc.integer({ min: 1, max: 90 }),
    k: fc.oneof(fc.integer({ min: 1, max: 80 }), fc.constantFrom(64, 96)),
    layout: fc.constantFrom<Layout>("nn", "nt", "tn", "tt"),
  });
  const shapes = fc.sample(arbitrary, { seed: 20_261_127, numRuns: 10 });
  const products = jit((given: readonly (readonly [Tensor, Tensor])[]) =>
    given.map(([x, y], i) => {
      const { layout } = shapes[i] as Case;
      const left = layout.startsWith("t") ? transpose(x) : x;
      // A value that was rounded to bf16 is one, whatever it was made of.
      const halved = left.cast("f32").mul(0.3).cast("bf16");
      return maximum(matmul(halved, layout.endsWith("t") ? transpose(y) : y).cast("f32"), -1e30);
    }),
  );
  const given = shapes.map((one, i) => operands(one, i));
  const results = products(given.map(([x, y], i) => laid(shapes[i] as Case, x, y)));
  for (const [i, one] of shapes.entries()) {
    const [x, y] = given[i] as readonly [Tensor, Tensor];
    const halved = await numbers(x.cast("f32").mul(0.3).cast("bf16"));
    assertNear(await numbers(results[i] as Tensor), halved, await numbers(y), one, 2 ** -8);
  }
});

test("a row has the bits that it has in a batch, however many rows that has", { skip: noNative }, async () => {
  const { features } = await device("cpu:native", { options: { threads: 2, grain: 1 } });
  // From 16 rows on matrix registers add in another order, where they are.
  const m = features.includes("amx-bf16") ? 15 : 31;
  for (const layout of ["nt", "nn"] as const) {
    const [x, y] = laid({ m, n: 150, k: 128, layout }, ...operands({ m, n: 150, k: 128, layout }, 7));
    const multiply = product(layout, false);
    const whole = await numbers(multiply(x, y));
    for (const rows of [1, 2, 9])
      assert.deepEqual(
        await numbers(multiply(x.at(slice(0, rows)), y)),
        whole.slice(0, rows * 150),
        `${rows}, ${layout}`,
      );
  }
});

test("NaN and infinities are what they are anywhere; a denormal may count as zero", { skip: noNative }, async () => {
  await device("cpu:native", { options: { threads: 1 } });
  const [n, k] = [48, 64];
  const odd: readonly (readonly [readonly number[], readonly number[], number])[] = [
    [[NaN, 1], [1, 1], NaN],
    [[Infinity, 1], [2, 1], Infinity],
    [[Infinity, 1], [-2, 1], -Infinity],
    [[Infinity, 1], [0, 1], NaN],
    [[Infinity, Infinity], [1, -1], NaN],
    [[0, 0], [-1, 5], 0],
  ];
  for (const [a, b, wanted] of odd)
    for (const place of [0, 1, 17, 62]) {
      const filled = (values: readonly number[], rows: number): Tensor => {
        const row = Array.from({ length: k }, (_, t) => values[t - place] ?? 0);
        return tensor(Array.from({ length: rows }, () => row).flat(), { shape: [rows, k], dtype: "bf16" });
      };
      for (const m of [1, 20]) {
        const got = await numbers(product("nt", false)(filled(a, m), filled(b, n)));
        assert.deepEqual(new Set(got), new Set([wanted]), `${a.join(" ")} · ${b.join(" ")}, ${m} rows`);
      }
    }
  // Terms of which one factor is a denormal, a denormal result, and terms that are neither.
  const small = [2 ** -130, 2 ** -70, 2 ** -100, 1];
  const by = [2 ** 100, 2 ** -70, 1, 2 ** -3];
  for (const [i, a] of small.entries()) {
    const x = tensor(new Array<number>(k).fill(a), { shape: [1, k], dtype: "bf16" });
    const y = tensor(new Array<number>(n * k).fill(at(by, i)), { shape: [n, k], dtype: "bf16" });
    const exact = k * a * at(by, i);
    const got = new Set(await numbers(product("nt", false)(x, y)));
    const allowed = i < 2 ? [0, exact] : [exact];
    assert.ok(got.size === 1 && [...got].every((v) => allowed.includes(v)), `${a}: ${[...got].join(" ")}`);
  }
});

test("they go by the instruction where the processor has it", { skip: noNative }, async () => {
  const { features } = await device("cpu:native");
  const has = ["avx512bf16", "neon-bf16"].some((feature) => features.includes(feature));
  const one: Case = { m: 20, n: 64, k: 64, layout: "nt" };
  const call = callOf.get(product("nt", true));
  assert.ok(call);
  const { artifacts } = await call([...operands(one, 1)]).program.plan();
  assert.equal(
    artifacts.some(({ code }) => String(code).includes("dot2")),
    has,
  );
});
