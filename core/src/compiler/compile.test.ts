import assert from "node:assert/strict";
import { test } from "node:test";
import { device, jit, register, tensor, valueAndGrad, matmul, type Tensor } from "../index.ts";
import { DTypeError } from "../errors.ts";
import { interpreterDriver } from "../interpreter/driver.ts";
import { nodesOf } from "../ir/fn.ts";
import { parse } from "../ir/parse.ts";
import { print } from "../ir/print.ts";
import { lower } from "../kernel/lower.ts";
import { canonicalDots } from "./canonical.ts";
import { fuse } from "./fuse.ts";
import { groupFn } from "./groups.ts";
import { planMemory, updatesEarly } from "./memory-plan.ts";

const groups = (text: string): string[] => {
  const { groups: pieces, stored } = fuse(parse(text));
  return pieces.flatMap((p) => ("call" in p ? ["call"] : [print(groupFn(p, stored).fn)]));
};

test("a bias and an activation ride on the product, whatever reshapes lie between", () => {
  const made = groups(`fn @f(%0 "x": f32[6, 4], %1 "w": f32[4, 5], %2 "b": f32[1, 5]) {
    %3 = dot(%0, %1) {batch: [[], []], contract: [[1], [0]]} : f32[6, 5]
    %4 = reshape(%3) {dims: [2, 3, 5]} : f32[2, 3, 5]
    %5 = expand(%2) {dims: [6, 5]} : f32[6, 5]
    %6 = reshape(%5) {dims: [2, 3, 5]} : f32[2, 3, 5]
    %7 = add(%4, %6) : f32[2, 3, 5]
    %8 = tanh(%7) : f32[2, 3, 5]
    return %8
  }`);
  assert.equal(made.length, 1);
  assert.match(made[0] as string, /tanh\(%\d+\) : f32\[6, 5\]/);
});

test("two products never share a group", () => {
  const made = groups(`fn @f(%0 "x": f32[4, 4]) {
    %1 = dot(%0, %0) {batch: [[], []], contract: [[1], [0]]} : f32[4, 4]
    %2 = dot(%0, %0) {batch: [[], []], contract: [[0], [0]]} : f32[4, 4]
    %3 = mul(%1, %2) : f32[4, 4]
    return %3
  }`);
  assert.equal(made.length, 2);
});

test("what an attention reads behind a product is computed once, not again for each query", () => {
  const projected = (end: string) =>
    groups(`fn @f(%0 "x": f32[6, 8], %1 "w": f32[8, 8], %2 "b": f32[1, 8]) {
    %3 = dot(%0, %1) {batch: [[], []], contract: [[1], [0]]} : f32[6, 8]
    %4 = expand(%2) {dims: [6, 8]} : f32[6, 8]
    %5 = add(%3, %4) : f32[6, 8]
    %6 = reshape(%5) {dims: [1, 6, 2, 4]} : f32[1, 6, 2, 4]
    %7 = permute(%6) {axes: [0, 2, 1, 3]} : f32[1, 2, 6, 4]
    %8 = reshape(%0) {dims: [1, 6, 2, 4]} : f32[1, 6, 2, 4]
    %9 = permute(%8) {axes: [0, 2, 1, 3]} : f32[1, 2, 6, 4]
    %10 = attention(%9, %7, %9) {causal: false, scale: 0.5, mask: "none", lengths: false, starts: false} : (f32[1, 2, 6, 4], f32[1, 2, 6])
    %11 = item(%10) {index: 0} : f32[1, 2, 6, 4]
    ${end}
  }`);
  for (const end of [
    "return %11",
    // Another reader, which computes the sum for itself.
    "%12 = exp(%5) : f32[6, 8]\n return %11, %12",
  ]) {
    const made = projected(end);
    assert.deepEqual(
      made.map((text) => /attention\(/.test(text) && /dot\(/.test(text)),
      made.map(() => false),
    );
    assert.match(made.find((text) => text.includes("dot(")) ?? "", /add\(/);
  }
});

test("moments and weights are updated in one sweep", () => {
  const made = groups(`fn @f(%0 "p": f32[8], %1 "m": f32[8], %2 "g": f32[8]) {
    %3 = add(%1, %2) : f32[8]
    %4 = sub(%0, %3) : f32[8]
    return %3, %4
  }`);
  assert.equal(made.length, 1);
  assert.match(made[0] as string, /return %\d+, %\d+/);
});

test("what is read at two places of itself, again and again, is stored before it is computed a thousand times", () => {
  // Products of all before, by doubling: written out, the last one has 1024 factors.
  const steps = Array.from({ length: 10 }, (_, i) => {
    const [x, by] = [3 * i, 2 ** i];
    return `%${x + 1} = slice(%${x}) {size: [${1024 - by}], start: [0], step: [1]} : f32[${1024 - by}]
    %${x + 2} = pad(%${x + 1}) {high: [0], low: [${by}], value: 1} : f32[1024]
    %${x + 3} = mul(%${x}, %${x + 2}) : f32[1024]`;
  });
  const { groups: pieces, stored } = fuse(
    parse(`fn @f(%0 "x": f32[1024]) {
    ${steps.join("\n    ")}
    return %30
  }`),
  );
  const kernels = pieces.flatMap((p) => ("call" in p ? [] : [lower(groupFn(p, stored).fn)]));
  const loads = kernels.map((k) => nodesOf(k).filter((n) => n.op === "load").length);
  assert.ok(kernels.length <= 6 && Math.max(...loads) <= 32, `loads of each kernel: ${loads.join(", ")}`);
});

test("what is read in halves is computed where they are", () => {
  const made = groups(`fn @f(%0 "x": f32[4, 8]) {
    %1 = tanh(%0) : f32[4, 8]
    %2 = tanh(%1) : f32[4, 8]
    %3 = slice(%2) {size: [4, 4], start: [0, 0], step: [1, 1]} : f32[4, 4]
    %4 = slice(%2) {size: [4, 4], start: [0, 4], step: [1, 1]} : f32[4, 4]
    %5 = mul(%3, %4) : f32[4, 4]
    return %5
  }`);
  assert.equal(made.length, 1);
});

test("every product has at most a batch and three loops after canonical-dots", () => {
  const fn = canonicalDots(
    parse(`fn @f(%0 "a": f32[2, 3, 4, 5], %1 "b": f32[5, 2, 6, 4]) {
    %2 = dot(%0, %1) {batch: [[0], [1]], contract: [[3, 2], [0, 3]]} : f32[2, 3, 6]
    return %2
  }`),
  );
  assert.match(print(fn), /dot\(.*\) \{batch: \[\[0\], \[0\]\], contract: \[\[2\], \[1\]\]\} : f32\[2, 3, 6\]/);
});

test("a product read transposed is the product of its operands exchanged", () => {
  const fn = canonicalDots(
    parse(`fn @f(%0 "g": f32[6, 4], %1 "x": f32[6, 5]) {
    %2 = dot(%0, %1) {batch: [[], []], contract: [[0], [0]]} : f32[4, 5]
    %3 = permute(%2) {axes: [1, 0]} : f32[5, 4]
    return %3
  }`),
  );
  assert.match(print(fn), /dot\(%1, %0\) .* : f32\[5, 4\]/);
  assert.doesNotMatch(print(fn), /permute/);
});

test("values whose lives do not overlap share memory, and those whose lives do, do not", () => {
  const value = (bytes: number) => ({ bytes });
  const use = (reads: readonly number[], writes: readonly number[], inPlace: readonly number[] = []) => ({
    reads,
    writes,
    inPlace,
    scratch: 0,
    work: 0,
  });
  const values = [{ bytes: 64, input: 0 }, value(64), value(64), value(64), { bytes: 64, output: 0 }];
  const { places, blocks, reuse } = planMemory(
    values,
    [use([0], [1]), use([1], [2]), use([2], [3]), use([3], [4], [3])],
    1,
    64,
    new Set([0]),
  );
  assert.notDeepEqual(places[1], places[2]);
  assert.deepEqual(places[1], places[3]);
  assert.deepEqual(blocks, [128]);
  assert.deepEqual(reuse, [0]);
  const chained = planMemory(
    values,
    [use([0], [1]), use([1], [2], [1]), use([2], [3], [2]), use([3], [4])],
    1,
    64,
    new Set(),
  );
  assert.deepEqual(chained.blocks, [64]);
  assert.deepEqual(chained.reuse, [-1]);
});

test("a donated weight is updated once its layer is done, by numbers that are made at the beginning", () => {
  const value = (more: object = {}) => ({ bytes: 4096, ...more });
  // Two weights and a rate; the backward pass makes the gradient of the second first, and reads the first once more.
  const values = [
    value({ input: 0 }),
    value({ input: 1 }),
    { bytes: 4, input: 2 },
    value(),
    value(),
    { bytes: 4 },
    value({ output: 0 }),
    value({ output: 1 }),
  ];
  const [w1, w2, rate, g2, g1, scaled, next1, next2] = [0, 1, 2, 3, 4, 5, 6, 7] as const;
  const use = (reads: readonly number[], writes: readonly number[], inPlace: readonly number[] = []) => ({
    reads,
    writes,
    inPlace,
    scratch: 0,
    work: 1,
  });
  const uses = [
    use([w1, w2], [g2]),
    use([g2, w1], [g1]),
    use([rate], [scaled]),
    use([w1, g1, scaled], [next1], [w1, g1]),
    use([w2, g2, scaled], [next2], [w2, g2]),
  ];
  assert.deepEqual(updatesEarly(values, uses, new Set([0, 1])), [2, 0, 4, 1, 3]);
  // Had another step to read the second weight, its update would wait for that.
  assert.deepEqual(updatesEarly(values, uses.with(1, use([g2, w1, w2], [g1])), new Set([0, 1])), [2, 0, 1, 3, 4]);
  assert.deepEqual(updatesEarly(values, uses, new Set()), [2, 0, 1, 3, 4]);
  // Two that want to overwrite the same input, or what the other one reads: each step is there once.
  const same = [use([w1, rate], [next1], [w1]), use([w1, w2], [next2], [w1, w2])];
  assert.deepEqual(updatesEarly(values, same, new Set([0, 1])), [1, 0]);
  const crossed = [use([w1, w2], [next1], [w1]), use([w1, w2], [next2], [w2]), use([w1, w2], [g1])];
  assert.deepEqual(
    updatesEarly(values, crossed, new Set([0, 1])).toSorted((a, b) => a - b),
    [0, 1, 2],
  );
});

test("what is longer than the device allocates goes into several blocks", () => {
  const use = (reads: number[], writes: number[], scratch = 0) => ({ reads, writes, inPlace: [], scratch, work: 0 });
  const value = (bytes: number) => ({ bytes });
  const { places, blocks, scratch } = planMemory(
    [{ bytes: 64, input: 0 }, value(640), value(128), value(64), value(192), { bytes: 64, output: 0 }],
    [use([0], [1, 2]), use([1, 2], [3, 4], 64), use([3, 4], [5])],
    1,
    64,
    new Set(),
    256,
  );
  assert.deepEqual(blocks, [640, 256, 192]);
  assert.deepEqual(places[1], { block: 0, offset: 0 });
  const later = [places[2], places[3], places[4], scratch[1]];
  assert.ok(later.every((place) => place !== undefined && place.block > 0));
  assert.equal(new Set(later.map((place) => JSON.stringify(place))).size, 4, "all live at the second step");
});

test("an error of a code generator names the kernel and the user's line", async () => {
  const hardware = (await interpreterDriver.probe())[0];
  assert.ok(hardware);
  register(
    {
      codegen: {
        name: "refuses",
        level: "graph",
        render: () => assert.fail(new DTypeError("this generator takes nothing")),
      },
    },
    {
      driver: {
        ...interpreterDriver,
        name: "refusing",
        open: async () => ({
          ...(await interpreterDriver.open("interpreter")),
          hardware: { ...hardware, id: "refusing", codegens: ["refuses"] },
        }),
      },
    },
  );
  await device("refusing");
  const f = jit((x: Tensor) => valueAndGrad((y: Tensor) => matmul(y, y).sum())(x)[1]);
  await assert.rejects(
    async () =>
      f(
        tensor([
          [1, 2],
          [3, 4],
        ]),
      ).data(),
    /takes nothing\n {2}in the kernel \w+, made at .*compile\.test\.ts:\d+/,
  );
});
