/** Softmax, norms and losses whose rows are computed one after the other in one kernel (`core/src/compiler/join-rows.ts`):
 *  against the interpreter in doubles, by themselves and with threads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { device, grad, jit, key, logSoftmax, logSumExp, nn, random, slice, softmax, type Tensor, tensor } from "sinan";
import { close } from "./close.ts";

const { functional } = nn;
const rows = 41;

/** Each is a function of x [rows, size], by its name. */
const cases: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  softmax: (x) => softmax(x),
  "log-softmax": (x) => logSoftmax(x),
  "log-sum-exp": (x) => logSumExp(x, -1, { keepDims: true }).mul(x),
  "layer norm": (x) => functional.layerNorm(x, x.at(0), x.at(1)),
  "RMS norm of a residual": (x) => functional.rmsNorm(x.add(x.mul(x)), x.at(0)),
  "cross entropy": (x) =>
    nn.crossEntropy(x, tensor(Int32Array.from({ length: x.shape[0] as number }, (_, i) => i % 7)), {
      reduction: "none",
    }),
  "a norm of what dropout left": (x) =>
    functional.rmsNorm(functional.dropout(x.reshape([1, ...x.shape]), 0.5, key(1)).mul(2), x.at(0)).reshape(x.shape),
  "three softmaxes": (x) => softmax(softmax(softmax(x).mul(9)).mul(x)),
};

const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);

/** Values and gradients of a weighted sum, which is not constant as that of a softmax alone is. */
const both = (f: (x: Tensor) => Tensor) =>
  jit((x: Tensor) => {
    const y = f(x);
    const g = grad((z: Tensor) => {
      const made = f(z);
      return made.mul(random.normal(key(3), made.shape)).sum();
    })(x);
    return [y, g] as const;
  });

const sample = (size: number): Tensor => random.normal(key(5), [rows, size]).mul(3);

for (const [name, f] of Object.entries(cases))
  test(`${name}: rows of several lengths are the interpreter's, and the same on two threads`, async () => {
    for (const size of [16, 37, 256]) {
      const run = async (on: string, options: Record<string, number | boolean>) => {
        await device(on, { options });
        const [y, g] = both(f)(sample(size));
        return [y, g, await numbers(y), await numbers(g)] as const;
      };
      const [, , y, g] = await run("interpreter", {});
      const one = await run("cpu", { threads: 1 });
      await close(one[0], y, { relative: 2e-5, absolute: 2e-5 }, `${name} of ${size}`);
      await close(one[1], g, { relative: 1e-4, absolute: 1e-4 }, `gradient of ${name} of ${size}`);
      const two = await run("cpu", { threads: 2, grain: 1 });
      assert.deepEqual(two.slice(2), one.slice(2));
    }
  });

test("a row has the same bits by itself, where rows are too few for a loop over them", async () => {
  await device("cpu");
  for (const [name, f] of Object.entries(cases)) {
    if (name.includes("norm")) continue; // Their weights are taken from the rows.
    const x = sample(100);
    const few = await jit(f)(x.at(slice(0, 2))).data();
    const all = await jit(f)(x).data();
    assert.deepEqual(all.slice(0, few.length), few, name);
  }
});

test("a row of infinities and one of NaN keep to themselves", async () => {
  await device("cpu");
  const x = sample(32);
  const spoilt = Float32Array.from(await numbers(x));
  spoilt.fill(Number.NEGATIVE_INFINITY, 32, 64);
  spoilt.fill(Number.NaN, 64, 96);
  const y = await jit((t: Tensor) => logSumExp(t, -1))(tensor(spoilt, { shape: [rows, 32] })).data();
  assert.equal(y[1], Number.NEGATIVE_INFINITY);
  assert.ok(Number.isNaN(y[2]));
  const clean = await jit((t: Tensor) => logSumExp(t, -1))(x).data();
  assert.deepEqual(y.slice(3), clean.slice(3));
});
