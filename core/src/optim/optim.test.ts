/** Optimizers against the update written out in doubles as PyTorch's sources have it, under jit with a rate that changes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { close } from "../../../tests/close.ts";
import { onEachDevice } from "../../../tests/devices.ts";
import {
  ArgumentError,
  jit,
  key,
  nn,
  ones,
  optim,
  tensor,
  type Tensor,
  tree,
  TreeError,
  valueAndGrad,
} from "../index.ts";

const data = {
  weight: [
    [0.5, -1],
    [2, 0.1],
    [-0.3, 1.5],
  ],
  bias: [0.2, -0.4],
};
const gradient = (step: number, i: number) => Math.sin(7 * step + 3 * i) * 10 ** ((i % 3) - 1);
const start = () => ({ bias: tensor(data.bias), weight: tensor(data.weight) });
/** The parameters in the order of their paths, as one list. */
const flat = async (p: unknown): Promise<number[]> =>
  (await Promise.all(tree.tensors(p).map(async ({ tensor: t }) => Array.from(await t.data(), Number)))).flat();
const begin = [...data.bias, ...data.weight.flat()];
const gradientsOf = (step: number) => begin.map((_, i) => gradient(step, i));
const gradsOf = (step: number) => {
  const g = gradientsOf(step);
  return { bias: tensor(g.slice(0, 2)), weight: tensor(g.slice(2)).reshape([3, 2]) };
};
const rates = [0.01, 0.02, 0.005, 0.1, 0.001, 0.03];

/** torch.optim.adamw, _single_tensor_adamw. */
function referenceAdamW({
  beta1,
  beta2,
  epsilon,
  decay,
}: {
  beta1: number;
  beta2: number;
  epsilon: number;
  decay: number;
}): number[][] {
  let p = begin.slice();
  const m = p.map(() => 0);
  const v = p.map(() => 0);
  return rates.map((rate, k) => {
    const step = k + 1;
    const g = gradientsOf(step);
    p = p.map((x, i) => {
      let y = x * (1 - rate * (i >= 2 ? decay : 0));
      m[i] = (m[i] as number) + ((g[i] as number) - (m[i] as number)) * (1 - beta1);
      v[i] = (v[i] as number) * beta2 + (g[i] as number) ** 2 * (1 - beta2);
      const denominator = Math.sqrt(v[i]) / Math.sqrt(1 - beta2 ** step) + epsilon;
      y -= ((rate / (1 - beta1 ** step)) * m[i]) / denominator;
      return y;
    });
    return p;
  });
}

for (const options of [
  { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.1 },
  { beta1: 0, beta2: 0.95, epsilon: 1e-3, decay: 0 },
])
  onEachDevice(`AdamW follows PyTorch, eager and jitted: ${JSON.stringify(options)}`, async (t) => {
    const warned = t.mock.method(console, "warn", () => {});
    const adam = optim.adamW({
      betas: [options.beta1, options.beta2],
      epsilon: options.epsilon,
      weightDecay: options.decay,
    });
    const expected = referenceAdamW(options);
    let eager = adam.init(start());
    let jitted = { ...adam.init(start()), note: "kept" };
    let traces = 0;
    const step = jit(
      ({ state, grads, rate }: { state: typeof jitted; grads: ReturnType<typeof gradsOf>; rate: number }) => {
        traces++;
        return adam.update(state, grads, { learningRate: rate });
      },
      { donate: ["state"] },
    );
    for (const [k, rate] of rates.entries()) {
      eager = adam.update(eager, gradsOf(k + 1), { learningRate: rate });
      jitted = step({ state: jitted, grads: gradsOf(k + 1), rate });
      const want = expected[k] as number[];
      for (const [i, p] of (await flat(eager.model)).entries())
        assert.ok(Math.abs(p - (want[i] as number)) < 2e-6, `eager step ${k + 1}, ${i}: ${p}, not ${want[i]}`);
      for (const [i, p] of (await flat(jitted.model)).entries())
        assert.ok(Math.abs(p - (want[i] as number)) < 2e-6, `jitted step ${k + 1}, ${i}: ${p}, not ${want[i]}`);
    }
    assert.equal(traces, 1, "neither the rate nor the step makes another trace");
    assert.equal(await jitted.step.item(), rates.length);
    assert.equal(jitted.note, "kept");
    assert.equal(warned.mock.callCount(), 0);
  });

onEachDevice("the bias correction keeps its digits at the first step", async () => {
  // After one step with epsilon 0 the parameter has moved by exactly the rate, whatever the gradient.
  const adam = optim.adamW({ betas: [0.9, 0.9999], epsilon: 0, weightDecay: 0, learningRate: 1 });
  const state = adam.update(adam.init({ p: tensor([0, 0]) }), { p: tensor([3, -1e-3]) });
  await close(state.model.p, [-1, 1], { relative: 5e-7, absolute: 0 });
});

for (const [momentum, nesterov] of [
  [0, false],
  [0.9, false],
  [0.9, true],
] as const)
  onEachDevice(`SGD follows PyTorch: momentum ${momentum}, nesterov ${nesterov}`, async () => {
    const sgd = optim.sgd({ momentum, nesterov, weightDecay: 0.05 });
    let state = sgd.init(start());
    let p = begin.slice();
    const velocity = p.map(() => 0);
    for (const [k, rate] of rates.entries()) {
      state = sgd.update(state, gradsOf(k + 1), { learningRate: rate });
      const g = gradientsOf(k + 1);
      p = p.map((x, i) => {
        let d = (g[i] as number) + (i >= 2 ? 0.05 * x : 0);
        if (momentum > 0) {
          // torch.optim.sgd: the first velocity is the gradient itself.
          velocity[i] = k === 0 ? d : momentum * (velocity[i] as number) + d;
          d = nesterov ? d + momentum * velocity[i] : velocity[i];
        }
        return x - rate * d;
      });
      await close(tensor(await flat(state.model)), p, { relative: 3e-6, absolute: 3e-6 }, `step ${k + 1}`);
    }
  });

onEachDevice("clipping scales the whole tree to the norm, and leaves small gradients alone", async () => {
  const grads = { a: tensor([3, 0]), b: tensor([[4]]) };
  const { grads: clipped, norm } = optim.clipByGlobalNorm(grads, 1);
  await close(norm, [5]);
  await close(clipped.a, [3 / (5 + 1e-6), 0], { relative: 2e-7, absolute: 0 });
  await close(clipped.b, [4 / (5 + 1e-6)], { relative: 2e-7, absolute: 0 });
  await close(optim.clipByGlobalNorm(grads, 6).grads.b, [4], { relative: 0, absolute: 0 });
  await close(optim.globalNorm({}), [0]);
  assert.throws(() => optim.clipByGlobalNorm(grads, 0), ArgumentError);
});

onEachDevice("a donated jitted step of a model learns", async () => {
  const model = nn
    .sequential(nn.linear(2, 16), nn.layerNorm(16), nn.gelu, nn.layerNorm(16), nn.linear(16, 2))
    .init(key(0));
  const x = tensor([
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ]);
  const y = tensor(Int32Array.of(0, 1, 1, 0));
  const adam = optim.adamW({ learningRate: 0.02 });
  const step = jit(
    ({ state }: { state: ReturnType<typeof adam.init<typeof model>> }) => {
      const [loss, raw] = valueAndGrad((m: typeof model) => nn.crossEntropy(m(x), y))(state.model);
      const { grads, norm } = optim.clipByGlobalNorm(raw, 1);
      return { loss, norm, state: adam.update(state, grads) };
    },
    { donate: ["state"] },
  );
  let state = adam.init(model);
  const losses: number[] = [];
  for (let i = 0; i < 40; i++) {
    const out = step({ state });
    state = out.state;
    losses.push(await out.loss.item());
  }
  assert.ok(
    (losses.at(-1) as number) < 0.1 * (losses[0] as number),
    `the exclusive or is learned: ${losses[0]} to ${losses.at(-1)}`,
  );
});

test("optimizers refuse absurd options and trees that differ", () => {
  assert.throws(() => optim.adamW({ learningRate: -1 }), ArgumentError);
  assert.throws(() => optim.adamW({ betas: [1, 0.9] }), ArgumentError);
  assert.throws(() => optim.adamW({ epsilon: Number.NaN }), ArgumentError);
  assert.throws(() => optim.sgd({ nesterov: true }), ArgumentError);
  const adam = optim.adamW();
  const state = adam.init({ a: ones([1]), b: ones([1]) });
  assert.throws(() => adam.update(state, { a: ones([1]) } as typeof state.model), TreeError);
  assert.throws(
    () => adam.update(state, { a: ones([1]), b: ones([1]), c: ones([1]) } as typeof state.model),
    TreeError,
  );
});

test("schedules: warm-up, cosine, line", () => {
  const rate = optim.cosine({ peak: 1e-3, warmupSteps: 3, steps: 10, finalFraction: 0.1 });
  // tests/fixtures/adamw/make.py, rate(t)
  const written = (t: number) =>
    t <= 3 ? (1e-3 * t) / 3 : 1e-3 * (0.1 + 0.9 * 0.5 * (1 + Math.cos((Math.PI * (t - 3)) / 7)));
  for (let t = 1; t <= 10; t++) assert.ok(Math.abs(rate(t) - written(t)) < 1e-15, `step ${t}`);
  assert.ok(Math.abs(rate(1000) - 1e-4) < 1e-15);
  assert.equal(optim.cosine({ peak: 1, warmupSteps: 0, steps: 4, finalFraction: 0 })(4), 0);
  assert.equal(optim.cosine({ peak: 1, warmupSteps: 4, steps: 4 })(4), 1);
  assert.deepEqual([0, 5, 10, 11].map(optim.linear({ from: 2, to: 1, steps: 10 })), [2, 1.5, 1, 1]);
  assert.equal(optim.constant(0.1)(7), 0.1);
  assert.throws(() => optim.cosine({ peak: 1, warmupSteps: 5, steps: 4 }), ArgumentError);
  assert.throws(() => optim.constant(Number.NaN), ArgumentError);
});

test("a step may be asked for outside a trace with a rate that is a tensor", async () => {
  const adam = optim.adamW({ weightDecay: 0, epsilon: 0 });
  const rate: Tensor = tensor(0.25);
  await close(adam.update(adam.init([tensor([1])]), [tensor([5])], { learningRate: rate }).model[0] as Tensor, [0.75]);
});
