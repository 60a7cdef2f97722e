/** Where numbers go wrong: far arguments, infinities, NaN, ties, rows that are masked whole, integer signs, narrow floats, long sums. Each on
 *  every device, against PyTorch (`fixtures/traps`) or the rule that is named. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import {
  arange,
  argmax,
  argmin,
  argsort,
  grad,
  logSoftmax,
  logSumExp,
  max,
  maximum,
  min,
  minimum,
  mod,
  floorDivide,
  nn,
  norm,
  pow,
  softmax,
  sort,
  sqrt,
  sum,
  tensor,
  type Tensor,
  where,
} from "../core/src/index.ts";
import { close } from "./close.ts";
import { onEachDevice } from "./devices.ts";

type Plain = number | string | readonly Plain[];

interface Trap {
  readonly name: string;
  readonly input: readonly Plain[];
  readonly output: readonly Plain[];
  readonly gradient?: readonly Plain[];
}

const { cases } = JSON.parse(readFileSync(new URL("fixtures/traps/cases.json", import.meta.url), "utf8")) as {
  readonly cases: readonly Trap[];
};

const found = (name: string): Trap => {
  const trap = cases.find((c) => c.name === name);
  assert.ok(trap, `fixtures/traps has no case ${name}`);
  return trap;
};
const flat = (x: Plain): number[] => (typeof x === "object" ? x.flatMap(flat) : [Number(x)]);
const shapeOf = (x: readonly Plain[]): number[] => {
  const [first] = x;
  return [x.length, ...(typeof first === "object" ? shapeOf(first) : [])];
};
const load = (x: readonly Plain[]): Tensor => tensor(Float32Array.from(flat(x)), { shape: shapeOf(x) });
const i32 = (x: readonly number[]): Tensor => tensor(Int32Array.from(x));
const column = (x: readonly Plain[], i: number): number[] => x.map((row) => flat(row)[i] as number);

/** f32 of PyTorch's numbers in f64: beyond the largest f32 they are infinite, below the least they are 0. */
const rounded = (x: readonly Plain[]): number[] => flat(x).map(Math.fround);
const tolerance = { relative: 2e-6, absolute: 1e-37 };

const same: readonly (readonly [name: string, f: (x: Tensor) => Tensor])[] = [
  ["softplus", nn.softplus],
  ["sigmoid", nn.sigmoid],
  ["tanh", (x) => x.tanh()],
  ["softmax", (x) => softmax(x)],
  ["logSoftmax", (x) => logSoftmax(x)],
  ["logSoftmaxWeighted", (x) => logSoftmax(x).mul(tensor([1, 2, 3, 4]))],
  ["logSumExp", (x) => logSumExp(x, -1)],
  ["logSumExp/finite", (x) => logSumExp(x, -1)],
  ["softmaxWeighted", (x) => softmax(x).mul(tensor([1, 2, 3, 4]))],
  ["amax", (x) => max(x, -1)],
  ["amin", (x) => min(x, -1)],
  ["argmax", (x) => argmax(x, -1)],
  ["argmin", (x) => argmin(x, -1)],
  ["sort", (x) => sort(x, -1).values],
  ["argsort", (x) => argsort(x, -1)],
  ["norm", (x) => norm(x, -1)],
];

for (const [name, f] of same) {
  const { input, output, gradient } = found(name);
  onEachDevice(`${name} at far arguments, infinities, NaN and ties is PyTorch's`, async () => {
    await close(f(load(input)), rounded(output), tolerance, name);
    if (gradient) await close(grad((x: Tensor) => sum(f(x)))(load(input)), rounded(gradient), tolerance, `d ${name}`);
  });
}

onEachDevice(
  "erf is 1 where f32 has nothing nearer, so that gelu is 0 far below and NaN at -inf, as in PyTorch",
  async () => {
    const far = [4.1, 5, 10, 1e30, Number.POSITIVE_INFINITY];
    assert.deepEqual(
      Array.from(
        await tensor([...far, ...far.map((x) => -x)])
          .erf()
          .data(),
        Number,
      ),
      [1, 1, 1, 1, 1, -1, -1, -1, -1, -1],
    );
    const [near, further, end] = Array.from(await nn.gelu(tensor([-6, -100, Number.NEGATIVE_INFINITY])).data(), Number);
    assert.deepEqual(
      [near, further, end].map((x) => (x === 0 ? 0 : x)),
      [0, 0, Number.NaN],
    );
  },
);

onEachDevice("pow, maximum and minimum follow IEEE at zeros, infinities and NaN", async () => {
  for (const [name, f] of [
    ["pow", pow],
    ["maximum", maximum],
    ["minimum", minimum],
  ] as const) {
    const { input, output } = found(name);
    await close(f(tensor(column(input, 0)), tensor(column(input, 1))), rounded(output), tolerance, name);
  }
  await close(pow(tensor([0]), tensor([0])), [1]);
});

onEachDevice("integer division rounds down and the remainder has the divisor's sign; by 0 both are 0", async () => {
  for (const [name, f] of [
    ["floorDivide", floorDivide],
    ["mod", mod],
  ] as const) {
    const { input, output } = found(name);
    const values = async (a: readonly number[], b: readonly number[]): Promise<number[]> =>
      Array.from(await f(i32(a), i32(b)).data(), Number);
    assert.deepEqual(await values(column(input, 0), column(input, 1)), flat(output), name);
    assert.deepEqual(await values([7, -7], [0, 0]), [0, 0], `${name} by 0`);
  }
});

onEachDevice(
  "a branch of where that is not taken gives no NaN, nor does its gradient where the branch is made safe",
  async () => {
    const x = tensor([-1, 0, 4]);
    const root = (v: Tensor): Tensor => where(v.greater(0), sqrt(v), 0);
    await close(root(x), [0, 0, 2]);
    // The derivative of sqrt at 0 and below is ∞ and NaN, and 0 · NaN is NaN, in PyTorch too: the argument is chosen first.
    const safe = (v: Tensor): Tensor => where(v.greater(0), sqrt(where(v.greater(0), v, 1)), 0);
    await close(grad((v: Tensor) => sum(safe(v)))(x), [0, 0, 0.25]);
    await close(where(tensor([1, 0]).greater(0), tensor([1, Number.NaN]), tensor([Number.NaN, 2])), [1, 2]);
  },
);

onEachDevice("casts of floats to integers stop at the ends of the range, and NaN becomes 0", async () => {
  const x = tensor([Number.NaN, Infinity, -Infinity, 3e9, -3e9, 2147483520, -2147483648, -0.9, 255.9, 256, -129]);
  const wide = [0, 2147483647, -2147483648, 2147483647, -2147483648, 2147483520, -2147483648, 0, 255, 256, -129];
  assert.deepEqual(Array.from(await x.cast("i32").data(), Number), wide);
  const u32 = [0, 4294967295, 0, 3e9, 0, 2147483520, 0, 0, 255, 256, 0];
  assert.deepEqual(Array.from(await x.cast("u32").data(), Number), u32);
  const u8 = [0, 255, 0, 255, 0, 255, 0, 0, 255, 255, 0];
  assert.deepEqual(Array.from(await x.cast("u8").data(), Number), u8);
  const i8 = [0, 127, -128, 127, -128, 127, -128, 0, 127, 127, -128];
  assert.deepEqual(Array.from(await x.cast("i8").data(), Number), i8);
});

onEachDevice(
  "f16 and bf16 round to the nearest even, overflow to infinity and keep subnormals, as PyTorch's",
  async () => {
    for (const dtype of ["f16", "bf16"] as const) {
      const { input, output } = found(dtype);
      const narrow = tensor(Float32Array.from(flat(input))).cast(dtype);
      await close(narrow.cast("f32"), flat(output), { relative: 0, absolute: 0 }, dtype);
      const doubled = found(`${dtype}/doubled`);
      await close(narrow.add(narrow).cast("f32"), flat(doubled.output), { relative: 0, absolute: 0 }, `${dtype} sum`);
    }
  },
);

onEachDevice("a row that is masked whole gets no attention, and gives no gradient", async () => {
  const q = tensor([1, 2, 3, 4], { shape: [1, 1, 2, 2] });
  const mask = tensor([1, 1, 0, 0], { shape: [2, 2] }).greater(0);
  const attend = (x: Tensor): Tensor => nn.scaledDotProductAttention(x, q, q, { mask });
  const rows = Array.from(await attend(q).data(), Number);
  assert.deepEqual(rows.slice(2), [0, 0]);
  assert.ok(rows.slice(0, 2).every((y) => y > 1 && y < 4));
  await close(grad((x: Tensor) => sum(attend(x)))(q).at(0, 0, 1), [0, 0]);
  // The logarithm of no probability at all.
  const nothing = tensor([-Infinity, -Infinity]);
  await close(logSumExp(nothing), [-Infinity]);
  await close(grad((x: Tensor) => logSumExp(x))(nothing), [0, 0]);
});

onEachDevice("a log-sum-exp of an infinity is one, and nothing flows to the other terms", async () => {
  const x = tensor([Infinity, 0, 100]);
  await close(logSumExp(x), [Infinity]);
  // eˣ⁻ʸ as IEEE has it: ∞ − ∞ is NaN, as PyTorch's gradient is there.
  await close(grad((t: Tensor) => logSumExp(t))(x), [Number.NaN, 0, 0]);
});

onEachDevice("a sum of 10⁸ terms loses nothing", async (t, on) => {
  if (on !== "cpu" && on !== "native") return t.skip("10⁸ terms are for the fast device");
  const parity = arange(1e8).mod(2);
  await close(sum(parity.cast("f32")), [5e7], { relative: 0, absolute: 0 });
  // A tenth is f32's, so the sum is 10⁸ of those.
  const tenths = where(parity.greater(-1), 0.1, 0);
  await close(sum(tenths), [1e8 * Math.fround(0.1)], { relative: 1e-6, absolute: 0 });
});
