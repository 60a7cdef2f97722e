/** Random numbers on every device against JAX and the known answers of random123: the same key, the same bits, whether they
 *  are made lazily or in a jitted call. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ArgumentError, fromBytes, jit, key, random, ShapeError, type Tensor, tensor } from "../core/src/index.ts";
import { threefry } from "../core/src/interpreter/random.ts";
import { onEachDevice } from "./devices.ts";
import { loadCases, type Loaded, type RandomCase } from "./fixtures/load.ts";

const { cases } = loadCases("random");

function draw({ op, key: words, attr = {} }: RandomCase): Tensor | readonly Tensor[] {
  const k = tensor(Uint32Array.from(words));
  const shape = (attr["shape"] ?? []) as readonly number[];
  const number = (name: string) => attr[name] as number;
  switch (op) {
    case "bits":
      return random.bits(k, shape);
    case "split":
      return random.split(k, number("n"));
    case "fold_in":
      return random.fold(k, number("data"));
    case "uniform":
      return "low" in attr
        ? random.uniform(k, shape, { low: number("low"), high: number("high") })
        : random.uniform(k, shape);
    case "normal":
      return random.normal(k, shape);
    case "bernoulli":
      return random.bernoulli(k, number("p"), shape);
    case "key":
      return key(number("seed"));
    case "block":
      throw new Error("a block is not a tensor");
    default:
      return op satisfies never;
  }
}

/** Uniform over a range ends in a multiplication and an addition, which JAX fuses; normal in a polynomial. */
const tolerance = ({ op, attr }: RandomCase): number =>
  op === "normal" ? 3e-6 : op === "uniform" && attr?.["low"] !== undefined ? 5e-7 : 0;

async function check(c: Loaded<RandomCase>, made: Tensor | readonly Tensor[]): Promise<void> {
  const { values, shape, dtype } = c.tensor("output");
  const parts = Array.isArray(made) ? (made as readonly Tensor[]) : [made as Tensor];
  for (const p of parts) assert.equal(p.dtype, dtype, c.name);
  assert.deepEqual(Array.isArray(made) ? [parts.length, ...(parts[0]?.shape ?? [])] : parts[0]?.shape, shape, c.name);
  const actual = (await Promise.all(parts.map((p) => p.data()))).flatMap((d) => [...d].map(Number));
  assert.equal(actual.length, values.length);
  actual.forEach((a, i) => {
    const e = values[i] as number;
    assert.ok(Math.abs(a - e) <= tolerance(c) * Math.max(1, Math.abs(e)), `${c.name}[${i}]: ${a}, JAX has ${e}`);
  });
}

const drawn = cases.filter(({ op }) => op !== "block");

onEachDevice("bits, keys and numbers are JAX's", async () => {
  assert.ok(drawn.length > 40);
  for (const c of drawn) await check(c, draw(c));
});

onEachDevice("and in a jitted call", async () => {
  for (const c of drawn) if (c.op !== "key") await check(c, jit(() => draw(c))());
});

test("the blocks are random123's known answers", () => {
  const blocks = cases.filter(({ op }) => op === "block");
  assert.equal(blocks.length, 5);
  const words = new Uint32Array(2);
  for (const {
    key: [k0, k1],
    counter: [c0, c1] = [0, 0],
    result,
  } of blocks) {
    threefry(k0, k1, c0, c1, words);
    assert.deepEqual([...words], result);
  }
});

onEachDevice("a part of a large draw is that draw's part, and an odd shape the flat one reshaped", async () => {
  const k = key(7);
  const whole = await random.bits(k, [4096 + 3]).data();
  assert.deepEqual(
    await random
      .bits(k, [4096 + 3])
      .at({ start: 1000, end: 1010 })
      .data(),
    whole.slice(1000, 1010),
  );
  assert.deepEqual(await random.bits(k, [3, 5, 7]).data(), whole.slice(0, 105));
  assert.deepEqual(await random.bits(k, [1]).data(), whole.slice(0, 1));
});

onEachDevice("folding a number in: traced, lazy and as a tensor are one", async () => {
  const k = key(3);
  const expected = await random.fold(k, 41).data();
  assert.deepEqual(await random.fold(k, tensor(41, { dtype: "i32" })).data(), expected);
  assert.deepEqual(await jit((a: Tensor) => random.fold(a, 41))(k).data(), expected);
  assert.deepEqual(await jit((a: Tensor, n: number) => random.fold(a, n as unknown as Tensor))(k, 41).data(), expected);
});

onEachDevice("means and spreads are what they should be", async () => {
  const [a, b, c, d] = random.split(key(11), 4) as [Tensor, Tensor, Tensor, Tensor];
  const n = 20_000;
  const mean = async (x: Tensor) => x.mean().item();
  assert.ok(Math.abs((await mean(random.normal(a, [n], { mean: 2, std: 3 }))) - 2) < 0.1);
  assert.ok(Math.abs((await mean(random.bernoulli(b, 0.3, [n]).cast("f32"))) - 0.3) < 0.02);
  assert.ok(Math.abs((await mean(random.gumbel(c, [n]))) - 0.5772) < 0.05);
  const whole = await random.integers(d, [n], -2, 3).data();
  assert.deepEqual(
    [...new Set([...whole].map(Number))].sort((x, y) => x - y),
    [-2, -1, 0, 1, 2],
  );
});

onEachDevice("a seed above 2³² has both its words", async () => {
  assert.deepEqual(await key(2 ** 40 + 5).data(), Uint32Array.of(256, 5));
});

test("bad keys, seeds and ranges are typed errors", () => {
  assert.throws(() => key(-1), ArgumentError);
  assert.throws(() => key(0.5), ArgumentError);
  assert.throws(() => random.fold(key(0), 2 ** 32), ArgumentError);
  assert.throws(() => random.integers(key(0), [2], 3, 3), ArgumentError);
  assert.throws(() => random.bits(tensor([1, 2, 3]), [2]), ShapeError);
  assert.throws(() => random.bits(fromBytes("u32", [3], new Uint8Array(12)), [2]), /expected a key u32\[2\]/);
});
