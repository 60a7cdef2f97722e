/** Runs that must be one and the same: cut into micro-batches or not, compiled or not, on one thread or two, in other precisions. */
import assert from "node:assert/strict";
import test from "node:test";
import {
  device,
  key,
  memoryFiles,
  nn,
  openCheckpoints,
  optim,
  random,
  tensor,
  Tensor,
  tree,
  valueAndGrad,
} from "sinan";
import { train } from "./loop.ts";
import type { TrainOptions } from "./options.ts";
import type { StepContext, Task } from "./task.ts";

interface Batch {
  readonly inputs: Tensor;
  readonly targets: Tensor;
}

const [examples, time, classes, width, steps] = [12, 5, 7, 16, 25] as const;

const classifier = () =>
  nn.module(
    "classifier",
    {
      table: nn.embedding(classes, width),
      drop: nn.dropout(0.25),
      up: nn.linear(width, width),
      last: nn.dropout(0.1),
      head: nn.linear(width, classes),
    },
    classify,
  );
type Classifier = ReturnType<typeof classifier>;

function classify(
  self: {
    readonly table: nn.Layer;
    readonly drop: nn.Layer;
    readonly up: nn.Layer;
    readonly last: nn.Layer;
    readonly head: nn.Layer;
  },
  ids: Tensor,
  ctx: nn.Context,
): Tensor {
  const h = nn.gelu(self.up(self.drop(self.table(ids), ctx)));
  // The last mask is over rows of all tokens: examples and time in one axis.
  const rows = self.last(h.reshape([-1, width]), ctx);
  return self
    .head(rows)
    .reshape([...ids.dims, classes])
    .cast("f32");
}

/** Some rows have few targets that count. */
function task(): Task<Classifier, optim.AdamWState<Classifier>, Batch> {
  return {
    model: classifier().init(key(7)),
    optimizer: optim.adamW({ weightDecay: 0.1 }),
    loss(model, { inputs, targets }, context) {
      const options = { ignoreIndex: -1, reduction: "sum" } as const;
      return { total: nn.crossEntropy(model(inputs, context), targets, options), weight: targets.notEqual(-1).sum() };
    },
    batch(n) {
      const at = (row: number, t: number): number => (row * 3 + t * t + n * 5 + Math.floor((n + row) / 3)) % classes;
      const rows = Array.from({ length: examples }, (_, r) => r);
      const times = Array.from({ length: time }, (_, t) => t);
      const inputs = Int32Array.from(rows.flatMap((r) => times.map((t) => at(r, t))));
      const targets = Int32Array.from(rows.flatMap((r) => times.map((t) => (t > (r + n) % time ? -1 : at(r, t + 1)))));
      const shape = [examples, time];
      return { inputs: tensor(inputs, { shape }), targets: tensor(targets, { shape }) };
    },
    rate: optim.cosine({ peak: 1e-2, steps, warmupSteps: 5 }),
    tokensPerStep: examples * time,
  };
}

interface Curve {
  readonly losses: readonly number[];
  readonly norms: readonly number[];
}

async function curveOf(options: Partial<TrainOptions<Classifier>> = {}): Promise<Curve> {
  const losses: number[] = [];
  const norms: number[] = [];
  for await (const e of train(task(), { steps, seed: 2, ...options })) {
    if (e.event !== "step") continue;
    losses.push(e.loss);
    norms.push(e.norm);
  }
  assert.equal(losses.length, steps);
  return { losses, norms };
}

/** Each loss and norm within a tolerance, and no side that the differences lie on: their mean is within four standard errors of
 *  zero, or below half a unit in the last place of what is compared. */
function same(a: Curve, b: Curve, tolerance: number): void {
  for (const part of ["losses", "norms"] as const) {
    const differences = a[part].map((x, i) => x - (b[part][i] ?? Number.NaN));
    const largest = Math.max(...differences.map(Math.abs));
    assert.ok(largest < tolerance, `${part} differ by ${largest}`);
    const n = differences.length;
    const mean = differences.reduce((sum, d) => sum + d, 0) / n;
    const variance = differences.reduce((sum, d) => sum + (d - mean) ** 2, 0) / (n - 1);
    const half = 2 ** (Math.floor(Math.log2(Math.max(...b[part]))) - 24);
    const bound = Math.max(4 * Math.sqrt(variance / n), half);
    assert.ok(Math.abs(mean) <= bound, `${part} are off by ${mean} on average, which chance keeps below ${bound}`);
  }
}

test("every split of a batch gives the trajectory of the whole, dropout on and rows of unequal weight", async () => {
  await device("cpu");
  const whole = await curveOf();
  assert.ok((whole.losses.at(-1) ?? 9) < (whole.losses[0] ?? 0) - 0.1, "it learns");
  for (const accumulate of [2, 3, 4, 6, 12]) same(await curveOf({ accumulate }), whole, 1e-5);
});

test("a bias that the tolerance hides is seen: a millionth of the loss, as from an epsilon beside the count of targets", async () => {
  await device("cpu");
  const whole = await curveOf();
  const exact = task();
  const biased: typeof exact = {
    ...exact,
    loss(model, batch, context) {
      const weighed = exact.loss(model, batch, context);
      if (weighed instanceof Tensor) return weighed;
      const { total, weight } = weighed;
      return { total: total.mul(weight).div(weight.add(5e-6)), weight };
    },
  };
  const losses: number[] = [];
  for await (const e of train(biased, { steps, seed: 2, accumulate: 4 })) if (e.event === "step") losses.push(e.loss);
  const largest = Math.max(...losses.map((loss, i) => Math.abs(loss - (whole.losses[i] ?? 0))));
  assert.ok(largest > 1e-7 && largest < 1e-5, `${largest}`);
  assert.throws(() => same({ losses, norms: whole.norms }, whole, 1e-5), /losses are off by -/);
});

test("dropout and weights are what the splits agree about: other keys, or means of means, are told apart", async () => {
  await device("cpu");
  const whole = await curveOf();
  const means: Task<Classifier, optim.AdamWState<Classifier>, Batch> = {
    ...task(),
    loss: (model, { inputs, targets }, context) =>
      nn.crossEntropy(model(inputs, context), targets, { ignoreIndex: -1 }),
  };
  const losses: number[] = [];
  for await (const e of train(means, { steps, seed: 2, accumulate: 4 })) if (e.event === "step") losses.push(e.loss);
  assert.throws(() => same({ losses, norms: whole.norms }, whole, 1e-3));
  const forgetful = task();
  const keyless: typeof forgetful = {
    ...forgetful,
    loss: (model, batch, { train, key }: StepContext) => forgetful.loss(model, batch, { train, key }),
  };
  const others: number[] = [];
  for await (const e of train(keyless, { steps, seed: 2, accumulate: 4 })) if (e.event === "step") others.push(e.loss);
  assert.throws(() => same({ losses: others, norms: whole.norms }, whole, 1e-3));
});

test("a batch that cannot be split evenly is refused", async () => {
  await device("cpu");
  await assert.rejects(curveOf({ accumulate: 5 }), /ArgumentError.*12 examples cannot be split evenly in 5/);
});

/** The processor with so many threads, which share even the smallest loops. */
async function threads(count: number): Promise<void> {
  const hardware = await device("cpu", { options: { threads: count, grain: 1 } });
  // Pages that are not isolated have one.
  const { crossOriginIsolated } = globalThis as { readonly crossOriginIsolated?: boolean };
  if (crossOriginIsolated !== false) assert.equal(hardware.threads, count);
}

test("one thread and two give the same bits", async () => {
  const curves: Curve[] = [];
  for (const count of [1, 2]) {
    await threads(count);
    curves.push(await curveOf({ accumulate: 2 }));
  }
  assert.deepEqual(curves[1], curves[0]);
});

test("with everything on, stopped anywhere and resumed on other threads: the same losses, weights, mean and loss scale, bit for bit", async () => {
  const options = { accumulate: 2, precision: "f16", ema: 0.9, steps: 8 } as const;
  const bytes = async (of: unknown): Promise<string[]> =>
    Promise.all(tree.tensors(of).map(async ({ tensor }) => String(await tensor.bytes())));
  const run = async (more: Partial<TrainOptions<Classifier>>, stop = Number.POSITIVE_INFINITY) => {
    const losses: number[] = [];
    const controller = new AbortController();
    const going = train(task(), { ...options, seed: 2, signal: controller.signal, ...more });
    let next = await going.next();
    for (; !next.done; next = await going.next()) {
      if (next.value.event !== "step") continue;
      losses.push(next.value.loss);
      if (next.value.step >= stop) controller.abort();
    }
    const { model, ema } = next.value;
    return { losses, weights: [await bytes(model), await bytes(ema)] };
  };
  await threads(1);
  const store = await openCheckpoints(memoryFiles(), "/whole");
  const whole = await run({ checkpoints: store });
  const last = await store.latest();
  for (let stop = 1; stop < options.steps; stop++) {
    await threads(1);
    const checkpoints = await openCheckpoints(memoryFiles(), "/run");
    const first = await run({ checkpoints }, stop);
    await threads(2);
    const second = await run({ checkpoints, resume: (await checkpoints.latest()) ?? undefined });
    assert.deepEqual([...first.losses, ...second.losses], whole.losses, `stopped after ${stop}`);
    assert.deepEqual(second.weights, whole.weights);
    assert.deepEqual((await checkpoints.latest())?.tensors, last?.tensors, "moments, mean and scale");
  }
  assert.deepEqual(Object.keys(last?.tensors ?? {}).sort(), ["ema", "model", "optimizer", "scaling"]);
});

test("a compiled step and the same written out and computed piece by piece", async () => {
  await device("cpu");
  const compiled = await curveOf();
  const own = task();
  const losses: number[] = [];
  const norms: number[] = [];
  let state = own.optimizer.init(own.model);
  for (let n = 0; n < steps; n++) {
    const context = { train: true, key: random.fold(key(2), n) } as const;
    const data = await own.batch(n);
    const [value, raw] = valueAndGrad((m: Classifier) => {
      const weighed = own.loss(m, data, context);
      return weighed instanceof Tensor ? weighed : weighed.total.div(weighed.weight.cast("f32"));
    })(state.model);
    const { grads, norm } = optim.clipByGlobalNorm(raw, 1);
    state = own.optimizer.update(state, grads, { learningRate: own.rate(n) });
    losses.push(await value.item());
    norms.push(await norm.item());
  }
  same({ losses, norms }, compiled, 1e-5);
});

test("bf16 and f16 follow f32 as closely as their digits allow", async () => {
  await device("cpu");
  const whole = await curveOf();
  // 8 bits of mantissa, and 11: relative errors of 2⁻⁸ and 2⁻¹¹, several operations deep.
  for (const [precision, tolerance] of [
    ["bf16", 0.06],
    ["f16", 0.01],
  ] as const) {
    const low = await curveOf({ precision });
    low.losses.forEach((loss, i) =>
      assert.ok(
        Math.abs(loss - (whole.losses[i] ?? 0)) < tolerance,
        `${precision}, step ${i + 1}: ${loss}, not ${whole.losses[i]}`,
      ),
    );
    assert.notDeepEqual(low.losses, whole.losses);
  }
});

test("the mean of the weights is the one that is measured, saved and given back", async () => {
  await device("cpu");
  const ema = 0.9;
  const weights: Float64Array[] = [];
  const flat = async (of: unknown): Promise<Float64Array> => {
    const all = await Promise.all(tree.tensors(of).map(async ({ tensor }) => Array.from(await tensor.data(), Number)));
    return Float64Array.from(all.flat());
  };
  const own = task();
  const first = await flat(own.model);
  const going = train(
    {
      ...own,
      evaluate: async (model) => {
        weights.push(await flat(model));
        return { loss: 1 };
      },
    },
    {
      steps: 6,
      seed: 2,
      ema,
      callbacks: [async (e, { model }) => void (e.event === "step" && weights.push(await flat(model)))],
    },
  );
  let next = await going.next();
  while (!next.done) next = await going.next();
  assert.ok(next.value.ema);
  let mean = first;
  for (const step of weights.slice(0, 6)) mean = mean.map((m, i) => ema * m + (1 - ema) * (step[i] ?? 0));
  const [evaluated, given] = [weights[6], await flat(next.value.ema)];
  assert.deepEqual(evaluated, given);
  mean.forEach((m, i) => assert.ok(Math.abs(m - (given[i] ?? 0)) < 1e-6, `${i}`));
});
