/** Running statistics of batch norms in a run: PyTorch's after as many steps, whatever a step is made of; a step that was refused leaves
 *  none; a run that was resumed has the bits of one that never stopped. */
import assert from "node:assert/strict";
import test from "node:test";
import {
  device,
  jit,
  key,
  memoryFiles,
  nn,
  openCheckpoints,
  optim,
  region,
  remat,
  tensor,
  type Tensor,
  tree,
  TreeError,
} from "sinan";
import { type FixtureTensor, loadCases, named } from "../../../tests/fixtures/load.ts";
import { ended } from "./ended.fixture.ts";
import type { TrainEvent } from "./events.ts";
import { train } from "./loop.ts";
import type { TrainOptions } from "./options.ts";
import { nextScaling } from "./scaling.ts";
import type { Task } from "./task.ts";

const { cases, tensors, steps, batches, rate, scaler } = loadCases("training");
const given = (name: string): Tensor => {
  const { values, shape } = named(tensors, name);
  return tensor(values, { shape });
};

type Call = (layer: nn.Layer, x: Tensor, ctx: nn.Context, place: string) => Tensor;
const plainly: Call = (layer, x, ctx) => layer(x, ctx);
const asRegion = region((layer: nn.Layer, x: Tensor, ctx: nn.Context) => layer(x, ctx));
const again = remat((layer: nn.Layer, x: Tensor, ctx: nn.Context) => layer(x, ctx));
const calls: Readonly<Record<string, Call>> = {
  plainly,
  "in regions": (layer, x, ctx, place) => asRegion(layer, x, nn.contextAt(ctx, place)),
  rematerialised: (layer, x, ctx, place) => again(layer, x, nn.contextAt(ctx, place)),
};

/** The fixture's network, initialised as PyTorch's was. */
function network(call: Call, dtype: "f32" | "f64" = "f64") {
  const parts = {
    layers: [
      nn.conv2d(1, 4, 3, { padding: 1, dtype }),
      nn.batchNorm(4, { dtype }),
      nn.relu,
      nn.conv2d(4, 6, 3, { stride: 2, padding: 1, bias: false, dtype }),
      nn.batchNorm(6, { momentum: 0.3, dtype }),
      nn.relu,
    ] as const,
    head: nn.linear(6, 3, { dtype }),
    layered: call,
  };
  const drawn = nn.module("network", parts, forward).init(key(0));
  return tree.mapLeaves(drawn, (leaf, path) =>
    tensors.has(`begin/${path}`) ? given(`begin/${path}`).cast(dtype) : leaf,
  ) as typeof drawn;
}

function forward(
  self: { readonly layers: readonly nn.Layer[]; readonly head: nn.Layer; readonly layered: Call },
  x: Tensor,
  ctx: nn.Context,
): Tensor {
  const last = self.layers.reduce((h, layer, i) => self.layered(layer, h, ctx, `layers.${i}`), x);
  return self.head(last.mean([2, 3]));
}

type Network = ReturnType<typeof network>;
type Batch = { readonly x: Tensor; readonly y: Tensor };
type NetworkTask = Task<Network, optim.SgdState<Network>, Batch>;

function taskOf(model: Network, of: (n: number) => number = (n) => n, dtype: "f32" | "f64" = "f64"): NetworkTask {
  const batch = (n: number): Batch => ({
    x: given("x")
      .at(of(n) % batches)
      .cast(dtype),
    y: given("y")
      .at(of(n) % batches)
      .cast("i32"),
  });
  return {
    model,
    optimizer: optim.sgd({ weightDecay: 0 }),
    loss: (m, { x, y }, ctx) => nn.crossEntropy(m(x, ctx), y),
    batch,
    rate: () => rate,
    tokensPerStep: 8,
    evaluate: async (m) => ({ loss: await nn.crossEntropy(m(batch(0).x), batch(0).y).item() }),
  };
}

async function run(task: NetworkTask, options: Partial<TrainOptions<Network>> = {}) {
  const end = await ended(train(task, { steps, seed: 0, ...options }));
  const kept = tree
    .tensors([end.outcome.model, end.outcome.ema])
    .map(async ({ path, tensor }) => `${path} ${String(await tensor.bytes())}`);
  return { ...end, bits: await Promise.all(kept) };
}

function near(actual: readonly number[], expected: FixtureTensor, tolerance: number, what: string): void {
  assert.equal(actual.length, expected.values.length, what);
  expected.values.forEach((want, i) => {
    const is = actual[i] as number;
    assert.ok(Math.abs(is - want) <= tolerance * Math.max(1, Math.abs(want)), `${what}[${i}]: ${is}, not ${want}`);
  });
}

const numbers = async (t: Tensor): Promise<number[]> => Array.from(await t.data(), Number);

for (const { name, accumulate, tensor: expected } of cases)
  for (const [how, call] of Object.entries(calls))
    test(`PyTorch's losses, weights and statistics after ${steps} steps: ${name}, ${how}`, async () => {
      await device("cpu");
      const { losses, outcome } = await run(taskOf(network(call)), { accumulate });
      near(losses, expected("losses"), 1e-6, "losses"); // reported as f32 or better
      let compared = 0;
      for (const { path, tensor: t } of tree.tensors(outcome.model)) {
        near(await numbers(t), expected(path), 1e-9, path);
        if (path.includes("running")) compared++;
      }
      assert.equal(compared, 4);
      const logits = outcome.model(given("x").at(0));
      near(await numbers(logits), expected("logits"), 1e-9, "logits");
      const inEvaluation = nn.crossEntropy(logits, given("y").at(0).cast("i32"));
      assert.equal(outcome.evaluation?.loss, await inEvaluation.item());
    });

test("passes of 16 bits have their statistics in f32", async () => {
  await device("cpu");
  const [whole] = cases;
  assert.ok(whole);
  for (const precision of ["bf16", "f16"] as const)
    for (const accumulate of [1, 2]) {
      const one = await run(taskOf(network(plainly, "f32"), undefined, "f32"), { steps: 1, accumulate });
      const low = await run(taskOf(network(plainly, "f32"), undefined, "f32"), { steps: 1, accumulate, precision });
      for (const at of [1, 4] as const)
        for (const part of ["running_mean", "running_var"] as const) {
          const [is, want] = [low, one].map(({ outcome }) => outcome.model.layers[at][part]);
          assert.ok(is && want);
          assert.equal(is.dtype, "f32");
          const [a, b] = [await numbers(is), await numbers(want)];
          a.forEach((x, i) =>
            assert.ok(Math.abs(x - (b[i] ?? 0)) < (precision === "f16" ? 1e-3 : 1e-2), `${part} ${x}`),
          );
          const rounded = await numbers(is.cast(precision));
          assert.notDeepEqual(a, rounded, "more digits than the passes have");
        }
    }
});

test("a step that is refused leaves no statistics, one that overflows leaves them once", async () => {
  await device("cpu");
  const bad = 4;
  for (const accumulate of [1, 2]) {
    const spoiled: NetworkTask = taskOf(network(plainly), (n) => (n > bad ? n - 1 : n));
    const task: NetworkTask = {
      ...spoiled,
      batch: async (n) => {
        const { x, y } = await spoiled.batch(n);
        return { x: n === bad ? x.mul(Number.NaN) : x, y };
      },
    };
    const clean = await run(taskOf(network(plainly)), { accumulate, ema: 0.9 });
    const skipped = await run(task, { accumulate, ema: 0.9, onNonFinite: "skip" });
    assert.equal(skipped.events.filter((e) => e.event === "skip").length, 1);
    assert.deepEqual(skipped.bits, clean.bits);
  }
  // A loss of 100 times its size overflows in f16 at the first scales.
  const small = taskOf(network(plainly, "f32"), undefined, "f32");
  const large: NetworkTask = { ...small, loss: (m, { x, y }, ctx) => nn.crossEntropy(m(x, ctx).mul(100), y).mul(100) };
  const { events, outcome } = await run(large, { steps: 1, precision: "f16" });
  assert.ok(events.some((e) => e.event === "skip" && e.reason === "overflow"));
  const once = await run(small, { steps: 1, precision: "f16" });
  assert.deepEqual(
    await numbers(outcome.model.layers[1].running_var),
    await numbers(once.outcome.model.layers[1].running_var),
  );
});

test("a run that is resumed has the statistics of one that never stopped, bit for bit", async () => {
  await device("cpu");
  for (const options of [{}, { accumulate: 2, ema: 0.5 }]) {
    const whole = await run(taskOf(network(plainly)), options);
    for (const stop of [1, 7]) {
      const checkpoints = await openCheckpoints(memoryFiles(), "/run");
      const callbacks = [
        (e: TrainEvent, view: { stop(): void }): void => void (e.event === "step" && e.step === stop && view.stop()),
      ];
      await run(taskOf(network(plainly)), { ...options, checkpoints, callbacks });
      const resume = (await checkpoints.latest()) ?? undefined;
      assert.equal(resume?.step, stop);
      const { bits } = await run(taskOf(network(plainly)), { ...options, checkpoints, resume });
      assert.deepEqual(bits, whole.bits);
    }
  }
});

test("statistics without a place in the model are an error that says how to give them one", async () => {
  await device("cpu");
  const model = { net: network(plainly, "f32") };
  type Record = typeof model;
  const of = (
    loss: Task<Record, optim.SgdState<Record>, Batch>["loss"],
  ): Task<Record, optim.SgdState<Record>, Batch> => ({
    ...taskOf(model.net, undefined, "f32"),
    model,
    optimizer: optim.sgd(),
    loss,
    evaluate: async () => ({ loss: 0 }),
  });
  const trained = async (task: ReturnType<typeof of>): Promise<Record> =>
    (await ended(train(task, { steps: 1, seed: 0 }))).outcome.model;
  await assert.rejects(
    trained(of((m, { x, y }, ctx) => nn.crossEntropy(m.net(x, ctx), y))),
    (error: unknown) => error instanceof TreeError && /layers\.1\.running_mean.*contextAt/s.test(error.message),
  );
  const { net } = await trained(of((m, { x, y }, ctx) => nn.crossEntropy(m.net(x, nn.contextAt(ctx, "net")), y)));
  const plain = await run(taskOf(network(plainly, "f32"), undefined, "f32"), { steps: 1 });
  assert.deepEqual(await numbers(net.layers[4].running_var), await numbers(plain.outcome.model.layers[4].running_var));
});

test("the loss scale is that of PyTorch's GradScaler, step by step", async () => {
  await device("cpu");
  const next = jit(nextScaling);
  let scaling = { scale: tensor(scaler.scales[0]?.[1] ?? 0), good: tensor(0, { dtype: "i32" }) };
  const expected = new Map(scaler.scales);
  let scale = Number.NaN;
  const [yes, no] = [tensor(true), tensor(false)];
  for (let step = 0; step < scaler.steps; step++) {
    const change = expected.get(step);
    if (change !== undefined || expected.has(step + 1)) {
      scale = change ?? scale;
      assert.equal(await scaling.scale.item(), scale, `step ${step}`);
    }
    scaling = next(scaling, scaler.overflows.includes(step) ? yes : no);
  }
  const largest = { scale: tensor(2 ** 127), good: tensor(1999, { dtype: "i32" }) };
  assert.equal(await next(largest, no).scale.item(), 2 ** 127, "never infinite");
});
