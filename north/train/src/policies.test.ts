/** What becomes of batches that a step cannot learn from: the run is that of data which never had them, bit for bit. */
import assert from "node:assert/strict";
import test from "node:test";
import {
  device,
  key,
  memoryFiles,
  nn,
  NonFiniteError,
  openCheckpoints,
  optim,
  region,
  tensor,
  type Tensor,
  tree,
} from "sinan";
import { ended, type Ended } from "./ended.fixture.ts";
import type { TrainEvent } from "./events.ts";
import { type Batch, type Model, tinyTask } from "./fixtures/task.ts";
import { train } from "./loop.ts";
import type { TrainOptions } from "./options.ts";
import type { Task } from "./task.ts";

type TinyTask = Task<Model, optim.AdamWState<Model>, Batch>;

const steps = 12;
const bad = 5;

/** A task whose batches are changed on their way. */
function changed(change: (batch: Batch, n: number) => Batch, of: (n: number) => number = (n) => n): TinyTask {
  const task = tinyTask();
  return { ...task, batch: async (n) => change(await task.batch(of(n)), n), ids: (n) => [`row ${n * 6}`] };
}

const poisoned = (): TinyTask => changed((b, n) => (n === bad ? { ...b, y: b.y.mul(Number.NaN) } : b));
const wild = (): TinyTask => changed((b, n) => (n === bad ? { ...b, y: b.y.mul(1000) } : b));
/** The same data without that batch. */
const without = (): TinyTask =>
  changed(
    (b) => b,
    (n) => (n < bad ? n : n + 1),
  );

async function run<M, S extends { readonly model: M }, B>(
  task: Task<M, S, B>,
  options: Partial<TrainOptions<M>> = {},
): Promise<Ended<M> & { readonly weights: readonly string[] }> {
  const end = await ended(train(task, { steps, seed: 1, ...options }));
  const all = tree.tensors(end.outcome.model).map(async ({ tensor }) => String(await tensor.bytes()));
  return { ...end, weights: await Promise.all(all) };
}

const skips = (events: readonly TrainEvent[]) => events.filter((e) => e.event === "skip");

test("a NaN stops before the update, and the error has step, batch, its examples and the tensor", async () => {
  await device("cpu");
  await assert.rejects(run(poisoned()), (error: unknown) => {
    assert.ok(error instanceof NonFiniteError);
    assert.match(error.message, /step 6: the loss is NaN.*batch 5 \(row 30\)/);
    assert.match(error.message, /onNonFinite: "skip"/);
    return true;
  });
});

test("skipping a NaN gives the run of the data without that batch, bit for bit", async () => {
  await device("cpu");
  const clean = await run(without());
  const skipped = await run(poisoned(), { onNonFinite: "skip" });
  assert.deepEqual(skipped.losses, clean.losses);
  assert.deepEqual(skipped.weights, clean.weights);
  const [skip, ...more] = skips(skipped.events);
  assert.equal(more.length, 0);
  assert.deepEqual(
    [skip?.batch, skip?.reason, skip?.action, skip?.step, skip?.ids],
    [bad, "nonFinite", "skip", 5, ["row 30"]],
  );
  assert.match(skip?.message ?? "", /step 6: the loss is NaN, .*not.*: batch 5 \(row 30\) is left out/);
});

for (const where of ["a directory", "memory"])
  test(`rewinding to the last checkpoint, in ${where}, gives the same`, async () => {
    await device("cpu");
    const clean = await run(without());
    const checkpoints = where === "memory" ? undefined : await openCheckpoints(memoryFiles(), "/run");
    const rewound = await run(poisoned(), { onNonFinite: "rewind", checkpointEvery: 3, checkpoints });
    assert.deepEqual(rewound.weights, clean.weights);
    const [skip] = skips(rewound.events);
    assert.deepEqual([skip?.action, skip?.step, skip?.to], ["rewind", 5, 3]);
    // Steps 4 and 5 are taken twice.
    assert.deepEqual(rewound.losses, [...clean.losses.slice(0, 5), ...clean.losses.slice(3)]);
    assert.equal(rewound.outcome.checkpoint, checkpoints && "/run/step-00000012");
  });

for (const action of ["skip", "rewind"] as const)
  test(`a spike of the loss is left out by ${action}, before its update`, async () => {
    await device("cpu");
    const onSpike = { factor: 50, window: 4, action } as const;
    const clean = await run(without(), { onSpike });
    const left = await run(wild(), { onSpike, checkpointEvery: 3 });
    assert.deepEqual(left.weights, clean.weights);
    assert.deepEqual(
      skips(left.events).map(({ batch, reason, action: done }) => [batch, reason, done]),
      [[bad, "spike", action]],
    );
    assert.equal(skips(clean.events).length, 0);
  });

test("a spike may be warned of and learned from", async () => {
  await device("cpu");
  const plain = await run(wild());
  const { events, losses } = await run(wild(), { onSpike: { factor: 50, window: 4, action: "warn" } });
  assert.deepEqual(losses, plain.losses);
  const warnings = events.filter((e) => e.event === "warning");
  assert.equal(warnings[0]?.step, 6);
  assert.match(warnings[0]?.message ?? "", /more than 50 times the median/);
});

test("what was left out stays out when the run goes on from a checkpoint, and so do the losses that spikes are told by", async () => {
  await device("cpu");
  const options = { onNonFinite: "skip", onSpike: { factor: 1.5, window: 4, action: "skip" } } as const;
  const whole = await run(poisoned(), options);
  assert.ok(
    skips(whole.events).some(({ reason }) => reason === "spike"),
    "the losses of this task jump",
  );
  for (const stop of [3, 5, 6, 9]) {
    const checkpoints = await openCheckpoints(memoryFiles(), "/run");
    const controller = new AbortController();
    const callbacks = [(e: TrainEvent): void => void (e.event === "step" && e.step === stop && controller.abort())];
    const first = await run(poisoned(), { ...options, checkpoints, signal: controller.signal, callbacks });
    const resume = (await checkpoints.latest()) ?? undefined;
    const second = await run(poisoned(), { ...options, checkpoints, resume });
    assert.deepEqual([...first.losses, ...second.losses], whole.losses, `stopped after ${stop}`);
    assert.deepEqual(second.weights, whole.weights);
  }
});

test("data that is all NaN ends the run after some batches, whatever the policy", async () => {
  await device("cpu");
  for (const onNonFinite of ["skip", "rewind"] as const) {
    const task = changed((b, n) => (n >= 3 ? { ...b, y: b.y.mul(Number.NaN) } : b));
    await assert.rejects(run(task, { onNonFinite }), /step 4: .*batch 11/);
  }
});

test("a weight that is not finite stops the run at once: no batch will help", async () => {
  await device("cpu");
  await assert.rejects(
    run(tinyTask({ poison: 3 }), { onNonFinite: "skip" }),
    /parameter first\.weight is not finite.*batch 0/,
  );
});

test("the first bad tensor is found in the order of the forward pass, by the path of its module, in regions too", async () => {
  await device("cpu");
  const inner = nn.module("block", { up: nn.linear(4, 4), root: nn.linear(4, 4) }, rooted);
  const model = nn.module("net", { first: nn.linear(4, 4), layers: [inner, inner] }, through).init(key(0));
  const task: Task<typeof model, optim.SgdState<typeof model>, Tensor> = {
    model,
    optimizer: optim.sgd(),
    loss: (m, x) => m(x).mean(),
    batch: () => tensor([[1, 2, 3, 4]]),
    rate: () => 0.1,
    tokensPerStep: 1,
  };
  await assert.rejects(run(task), /the activation of layers\.0 is the first that is not finite/);
});

function rooted(self: { readonly up: nn.Layer; readonly root: nn.Layer }, x: Tensor): Tensor {
  return self.root(self.up(x).square().neg().sub(1)).mul(0).sub(1).sqrt();
}

function through(self: { readonly first: nn.Layer; readonly layers: readonly nn.Layer[] }, x: Tensor): Tensor {
  return self.layers.reduce((h, layer) => block(layer, h), self.first(x));
}

const block = region((layer: nn.Layer, x: Tensor) => layer(x));
