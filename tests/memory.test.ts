/** Memory over long runs: the normal loop, an awaited read every few steps, is flat with and without donation, jitted or not;
 *  a loop that never awaits ends in a typed error. Budgets are small, so that what is not freed is soon missed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  device,
  grad,
  jit,
  key,
  memory,
  nn,
  OutOfMemoryError,
  random,
  type SinanError,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from "../core/src/index.ts";
import { deviceNames, onEachDevice } from "./devices.ts";

const steps = 2000;
const size = 2048;
const bytes = 4 * size;

interface State {
  readonly w: Tensor;
  readonly m: Tensor;
}

const loss = (w: Tensor, x: Tensor): Tensor => w.sub(x).square().mean();
const fresh = (): State => ({ w: zeros([size]), m: zeros([size]) });

function update({ w, m }: State, x: Tensor, rate: number): { state: State; value: Tensor } {
  const [value, g] = valueAndGrad(loss)(w, x);
  const next = m.mul(0.9).add(g);
  return { state: { w: w.sub(next.mul(rate)), m: next }, value };
}

/** A device of its own, with a budget in tensors of `size`. */
const open = (name: string, tensors: number) => device(name, { options: {}, budget: tensors * bytes });

async function loop(
  step: (s: State, x: Tensor, rate: number) => { state: State; value: Tensor },
  tensors: number,
): Promise<void> {
  const x = tensor(Float32Array.from({ length: size }, (_, i) => Math.sin(i)));
  let state = fresh();
  let last = Number.POSITIVE_INFINITY;
  for (let i = 0; i < steps; i++) {
    const out = step(state, x, 100 / (1 + i));
    state = out.state;
    if (i % 4 === 3) last = await out.value.item();
  }
  assert.ok(last < 0.5, String(last));
  const { live, peak, budget } = memory();
  assert.equal(budget, tensors * bytes);
  // A step makes three tensors or more: without a collector 6 000 of them would be live.
  assert.ok(peak <= 0.75 * budget && live <= peak, `${live / bytes} live, ${peak / bytes} at most`);
}

for (const name of deviceNames) {
  test(`the jitted loop is flat over ${steps} steps (${name})`, async () => {
    await open(name, 512);
    await loop(jit(update), 512);
  });

  test(`the donating loop is flat, and needs no collector (${name})`, async () => {
    await open(name, 64);
    const start = tensor(new Float32Array(size));
    await start.data();
    const step = jit((s: { state: State; x: Tensor }) => update(s.state, s.x, 0.1), { donate: ["state"] });
    let state = fresh();
    let most = 0;
    for (let i = 0; i < steps; i++) {
      state = step({ state, x: start }).state;
      if (i % 100 === 99) await state.w.at(0).item();
      if (i > 0) most = Math.max(most, memory().live);
    }
    // Two tensors of state, the data, what a step needs beside them; and the losses that nobody read.
    assert.ok(most <= 8 * bytes + steps * 64, `${most / bytes} tensors' worth`);
  });

  test(`the loop that is not jitted is flat, derivatives and all (${name})`, async () => {
    await open(name, 512);
    await loop(update, 512);
  });
}

test("a chain of which a part is read every few steps is flat", async () => {
  await open("cpu", 128);
  const step = jit((x: Tensor) => x.mul(0.999).add(0.001));
  let x = zeros([size]);
  for (let i = 0; i < steps; i++) {
    x = step(x);
    if (i % 3 === 2) await x.at(0).item();
  }
  assert.ok(Math.abs((await x.at(1).item()) - (1 - 0.999 ** steps)) < 1e-3);
});

const large = 2 ** 18;

/** A megabyte each step, and never a turn for the collector. */
async function greedy(step: (x: Tensor) => Tensor): Promise<Tensor> {
  let x = zeros([large]);
  await x.data();
  for (let i = 0; i < 64; i++) x = step(x);
  return x;
}

for (const name of deviceNames)
  for (const [kind, step] of [
    ["jitted", jit((x: Tensor) => x.add(1))],
    ["with a gradient", jit((x: Tensor) => grad((v: Tensor) => v.mul(v).sum())(x))],
  ] as const)
    test(`a loop that never awaits ends in the typed error, with its line (${name}, ${kind})`, async () => {
      await device(name, { options: {}, budget: 16 * 2 ** 20 });
      const small = tensor([1]);
      assert.equal(await small.item(), 1);
      await assert.rejects(
        async () => (await greedy(step)).data(),
        (error: SinanError) => {
          assert.ok(error instanceof OutOfMemoryError, String(error));
          assert.match(error.message, /exceed the budget of 16\.0 MiB/);
          assert.match(error.message, /1\.0 MiB f32\[262144\] made at .*tests\/memory\.test\.ts:\d+:/);
          assert.match(error.message, /never awaits/);
          return true;
        },
      );
      // An awaited read gives the collector its turn, and the memory comes back.
      assert.equal(await small.item(), 1);
      const x = await greedy((v) => v);
      assert.equal(await x.at(0).item(), 0);
    });

test("a chain of 24 element-wise operations over 4 MB needs its input and its output, nothing between", async () => {
  for (const name of deviceNames) {
    await device(name, { options: {} });
    const chain = jit((x: Tensor) => {
      let y = x;
      for (let i = 0; i < 12; i++) y = y.mul(1.01).add(i);
      return y;
    });
    const x = tensor(new Float32Array(2 ** 20));
    await x.at(0).item();
    const before = memory().peak;
    const y = chain(x);
    assert.ok((await y.at(5).item()) > 0);
    assert.ok(memory().peak <= 2 * 2 ** 22 + 4096 && before <= 2 ** 22 + 4096, `${name}: ${memory().peak}`);
  }
});

test("temporaries of a step share one arena: a deep chain of products needs a few of them", async () => {
  await device("cpu", { options: {} });
  const side = 256;
  const chain = jit((x: Tensor) => {
    let y = x;
    for (let i = 0; i < 20; i++) y = y.matmul(x).mul(1 / side);
    return y;
  });
  const x = tensor(new Float32Array(side * side).fill(1), { shape: [side, side] });
  assert.ok(Math.abs((await chain(x).at(0, 0).item()) - 1) < 1e-3);
  const matrix = 4 * side * side;
  assert.ok(memory().peak <= 8 * matrix, `${memory().peak / matrix} matrices`);
});

onEachDevice("constants with memory of their own are whole while other work is under way", async () => {
  const { constant } = nn.initializers;
  // What they are written over was something else before.
  for (let round = 0; round < 3; round++) {
    const busy = Array.from({ length: 4 }, (_, i) => random.normal(key(i), [257, 33]).exp());
    for (const b of busy) b.buffer();
    const made = [0, 1, -1].map((value) => constant(value)(key(0), [257, 33], "f32"));
    const bytes = constant(-1)(key(0), [65], "i8");
    for (const [i, value] of [0, 1, -1].entries())
      assert.ok(
        (await made[i]?.data())?.every((x) => x === value),
        `${value} in round ${round}`,
      );
    assert.ok((await bytes.data()).every((x) => x === -1));
    assert.equal((await constant(0)(key(0), [0, 3], "f32").data()).length, 0);
    assert.ok(Number.isFinite(await busy[0]?.sum().item()));
  }
});
