/** Frozen weights of few bits on the native tier: laid once in the order in which products read them, with the bits of weights as they are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compile } from "../core/src/compiler/compile.ts";
import { frozenPlan } from "../core/src/compiler/frozen-plan.ts";
import { device, frozen, jit, key, nn, quantize, quantizedLinear, random, type Tensor } from "../core/src/index.ts";
import { vectorLanes } from "../core/src/kernel/plan.ts";
import { typeBytes } from "../core/src/runtime/program.ts";
import { callOf } from "../core/src/tensor/jit.ts";
import { noNative } from "./devices.ts";

const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);
const rounded = (x: Tensor, w: Tensor): Tensor => quantizedLinear(x, w, null, { activations: "int8" });

/** Rows of x, of weights and terms: whole tiles and not, one block, fewer rows than a tile has. */
const sizes = [
  [1, 83, 512],
  [21, 64, 96],
  [9, 35, 32],
  [3, 3, 64],
] as const;

const formats = ["q4_0", "q8_0"] as const;

const sample = (format: (typeof formats)[number], [m, n, k]: (typeof sizes)[number]) => ({
  x: random.normal(key(m), [m, k]),
  w: quantize(random.normal(key(n), [n, k]), format),
});

const cases = formats.flatMap((format) =>
  sizes.map((size) => ({ format, size, what: `${format}, ${size.join(" × ")}` })),
);

test("products by frozen weights have the bits of those by weights as they are, with any number of threads", {
  skip: noNative,
}, async () => {
  const wanted = new Map<string, number[]>();
  for (const threads of [1, 2, 5]) {
    await device("cpu:native", { options: { threads, grain: 1 } });
    for (const { format, size, what } of cases) {
      const { x, w } = sample(format, size);
      if (threads === 1) wanted.set(what, await numbers(jit(rounded)(x, w)));
      const call = jit(rounded, { frozen: frozen(1) });
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
  for (const { format, size, what } of cases) {
    const { x, w } = sample(format, size);
    const call = callOf.get(jit(rounded, { frozen: frozen(1) }));
    assert.ok(call);
    const { program, args } = call([x, w]);
    const { hardware } = program.stream;
    assert.ok(hardware);
    const { packed } = frozenPlan(compile(program.fn, hardware), args.length, hardware, new Set([1]));
    // A processor without wide vectors has none of it; three rows are no tile, and of one block each nothing lies apart.
    const isWide = hardware.limits.vectorRegisters > 16 || vectorLanes(hardware) > 4;
    assert.equal(packed.length, isWide && size[1] > 16 && size[2] > 32 ? 1 : 0, what);
    for (const { type } of packed) assert.equal(typeBytes(type), typeBytes(w.type), what);
  }
});
