/** Frozen weights of few bits on the native tier: laid once in the order in which products read them, with the bits of weights as they are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compile } from "../core/src/compiler/compile.ts";
import { frozenPlan } from "../core/src/compiler/frozen-plan.ts";
import { device, frozen, jit, key, nn, quantize, quantizedLinear, random, type Tensor } from "../core/src/index.ts";
import { hasParts } from "../core/src/kernel/products/pair-product.ts";
import { vectorLanes } from "../core/src/kernel/plan.ts";
import { typeBytes } from "../core/src/runtime/program.ts";
import { callOf } from "../core/src/tensor/jit.ts";
import { noNative } from "./devices.ts";

const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);
const rounded = (x: Tensor, w: Tensor): Tensor => quantizedLinear(x, w, null, { activations: "int8" });
const ofPairs = (x: Tensor, w: Tensor): Tensor => nn.functional.linear(x.cast("bf16").cast("f32"), w.cast("f32"));

type Format = "q4_0" | "q8_0" | "q4_k" | "bf16";
interface Case {
  readonly format: Format;
  /** Rows of x, of weights, and terms. */
  readonly size: readonly [number, number, number];
  readonly isLaid: boolean;
}

/** Blocks in whole tiles and not, of one block, of fewer rows than a tile has; bf16 in tiles of one vector and of several, in rows that are no
 *  whole tiles and beside more rows of x than one tile has. */
const cases: readonly Case[] = [
  ...(["q4_0", "q8_0"] as const).flatMap((format): Case[] => [
    { format, size: [1, 83, 512], isLaid: true },
    { format, size: [21, 64, 96], isLaid: true },
    // One block, and three rows, are no tiles.
    { format, size: [9, 35, 32], isLaid: false },
    { format, size: [3, 3, 64], isLaid: false },
  ]),
  { format: "q4_k", size: [1, 83, 512], isLaid: true },
  { format: "q4_k", size: [21, 64, 768], isLaid: true },
  { format: "q4_k", size: [9, 35, 256], isLaid: false },
  { format: "bf16", size: [1, 128, 512], isLaid: true },
  { format: "bf16", size: [1, 80, 130], isLaid: true },
  { format: "bf16", size: [6, 96, 66], isLaid: true },
  { format: "bf16", size: [3, 83, 64], isLaid: false },
  { format: "bf16", size: [40, 64, 64], isLaid: false },
];

const named = ({ format, size }: Case): string => `${format}, ${size.join(" × ")}`;

const sample = ({ format, size: [m, n, k] }: Case) => {
  const w = random.normal(key(n), [n, k]);
  return {
    x: random.normal(key(m), [m, k]),
    w: format === "bf16" ? w.cast("bf16") : quantize(w, format),
    product: format === "bf16" ? ofPairs : rounded,
  };
};

test("products by frozen weights have the bits of those by weights as they are, with any number of threads", {
  skip: noNative,
}, async () => {
  const wanted = new Map<string, number[]>();
  for (const threads of [1, 2, 5]) {
    await device("cpu:native", { options: { threads, grain: 1 } });
    for (const one of cases) {
      const { x, w, product } = sample(one);
      const what = named(one);
      if (threads === 1) wanted.set(what, await numbers(jit(product)(x, w)));
      const call = jit(product, { frozen: frozen(1) });
      for (const time of ["first", "second"])
        assert.deepEqual(await numbers(call(x, w)), wanted.get(what), `${what}, ${threads} threads, ${time} call`);
    }
  }
});

test("what follows a product is a part of it as it was", { skip: noNative }, async () => {
  await device("cpu:native");
  const [x, w, bias] = [random.normal(key(1), [5, 128]), random.normal(key(2), [70, 128]), random.normal(key(3), [70])];
  const q = quantize(w, "q4_0");
  const f = (y: Tensor, v: Tensor, b: Tensor): Tensor => nn.relu(quantizedLinear(y, v, b, { activations: "int8" }));
  assert.deepEqual(await numbers(jit(f, { frozen: frozen(1) })(x, q, bias)), await numbers(jit(f)(x, q, bias)));
});

test("weights take no more bytes laid than they did", { skip: noNative }, async () => {
  await device("cpu:native");
  for (const one of cases) {
    const { x, w, product } = sample(one);
    const call = callOf.get(jit(product, { frozen: frozen(1) }));
    assert.ok(call);
    const { program, args } = call([x, w]);
    const { hardware } = program.stream;
    assert.ok(hardware);
    const { packed } = frozenPlan(compile(program.fn, hardware), args.length, hardware, new Set([1]));
    // A processor without wide vectors, or without the instruction, has none of it.
    const isWide = hardware.limits.vectorRegisters > 16 || vectorLanes(hardware) > 4;
    const isThere = isWide && (one.format !== "bf16" || hasParts(hardware, "bf16"));
    assert.equal(packed.length, isThere && one.isLaid ? 1 : 0, named(one));
    for (const { type } of packed) assert.equal(typeBytes(type), typeBytes(w.type), named(one));
  }
});
