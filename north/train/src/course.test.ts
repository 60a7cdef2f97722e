/** What goes on beside the steps: the best checkpoint, stopping early, callbacks, overflow in f16. */
import assert from "node:assert/strict";
import test from "node:test";
import { device, memoryFiles, openCheckpoints, optim, tensor, type Tensor } from "sinan";
import { ended, type Ended } from "./ended.fixture.ts";
import type { TrainEvent } from "./events.ts";
import { tinyTask } from "./fixtures/task.ts";
import { train } from "./loop.ts";
import type { TrainOptions } from "./options.ts";
import { readRecord } from "./saved.ts";
import type { Task, TrainState } from "./task.ts";

const run = <M, S extends TrainState<M>, B>(
  task: Task<M, S, B>,
  options: Partial<TrainOptions<M>>,
): Promise<Ended<M>> => ended(train(task, { steps: 20, seed: 0, ...options }));

/** Evaluations that give these losses one after another. */
function measured(losses: readonly number[]) {
  let n = 0;
  return { ...tinyTask(), evaluate: async () => ({ loss: losses[n++] ?? 0 }) };
}

const told = (events: readonly TrainEvent[]): string[] =>
  events.flatMap((e) => (e.event === "step" ? [] : [`${"best" in e ? "best " : ""}${e.event} ${e.step}`]));

test("the best evaluation's state is kept in a place of its own, the last ones in theirs", async () => {
  await device("cpu");
  const files = memoryFiles();
  const checkpoints = await openCheckpoints(files, "/run", { keep: 2 });
  const best = await openCheckpoints(files, "/run/best", { keep: 1 });
  const { events, outcome } = await run(measured([3, 2, 4, 5]), {
    checkpoints,
    best,
    evaluateEvery: 5,
    checkpointEvery: 5,
  });
  assert.deepEqual(told(events), [
    "checkpoint 0",
    "eval 5",
    "best checkpoint 5",
    "checkpoint 5",
    "eval 10",
    "best checkpoint 10",
    "checkpoint 10",
    "eval 15",
    "checkpoint 15",
    "checkpoint 20",
    "eval 20",
  ]);
  assert.deepEqual((await files.list("/run")).filter((n) => n.startsWith("step")).sort(), [
    "step-00000015",
    "step-00000020",
  ]);
  assert.deepEqual(
    (await files.list("/run/best")).filter((n) => n.startsWith("step")),
    ["step-00000010"],
  );
  assert.equal(outcome.best, "/run/best/step-00000010");
  const { progress } = readRecord(await checkpoints.load("step-00000015"));
  assert.deepEqual(progress, { leftOut: [], losses: [], best: 2, worse: 1 });
});

test("a run whose evaluations no longer get better ends, saved, and does not go on when it is resumed", async () => {
  await device("cpu");
  const files = memoryFiles();
  const checkpoints = await openCheckpoints(files, "/run");
  const options = { evaluateEvery: 2, earlyStop: { patience: 2, minDelta: 0.1 }, checkpoints } as const;
  const { events, outcome } = await run(measured([3, 2, 1.95, 1.91, 0]), options);
  assert.deepEqual(told(events), ["checkpoint 0", "eval 2", "eval 4", "eval 6", "eval 8", "checkpoint 8"]);
  assert.deepEqual(
    [outcome.stoppedEarly, outcome.stopped, outcome.step, outcome.evaluation?.loss],
    [true, false, 8, 1.91],
  );
  const again = await run(measured([0]), { ...options, resume: (await checkpoints.latest()) ?? undefined });
  assert.deepEqual([again.outcome.stoppedEarly, again.outcome.step], [true, 8]);
  // Counts survive a stop in the middle of the patience.
  const middle = await openCheckpoints(memoryFiles(), "/run");
  const stop = {
    callbacks: [(e: TrainEvent, r: { stop(): void }) => (e.event === "step" && e.step === 6 ? r.stop() : undefined)],
  };
  await run(measured([3, 2, 1.95]), { ...options, checkpoints: middle, ...stop });
  const rest = await run(measured([1.91]), { ...options, resume: (await middle.latest()) ?? undefined });
  assert.deepEqual([rest.outcome.stoppedEarly, rest.outcome.step], [true, 8]);
});

test("callbacks see each event before it is told, may add one, read the weights, and stop the run", async () => {
  await device("cpu");
  const order: string[] = [];
  const { events, outcome } = await run(tinyTask(), {
    callbacks: [
      async (e, { step, model, stop }) => {
        if (e.event !== "step") return;
        const weight = await model.first.weight.at(0, 0).item();
        order.push(`${step} ${Number.isFinite(weight)}`);
        if (step === 3) stop();
        return { event: "sample", step, prompt: "", text: "said" };
      },
    ],
  });
  assert.deepEqual(order, ["1 true", "2 true", "3 true"]);
  assert.deepEqual(
    events.map((e) => `${e.event} ${e.step}`),
    ["step 1", "sample 1", "step 2", "sample 2", "step 3", "sample 3"],
  );
  assert.deepEqual([outcome.step, outcome.stopped], [3, true]);
});

test("a gradient beyond f16 is repeated with half the scale until it fits; a loss beyond f16 is not blamed on the scale", async () => {
  await device("cpu");
  const one = (loss: (w: Tensor) => Tensor): Task<{ w: Tensor }, optim.SgdState<{ w: Tensor }>, null> => ({
    model: { w: tensor([1, 2]) },
    optimizer: optim.sgd({ weightDecay: 0 }),
    loss: ({ w }) => loss(w),
    batch: () => null,
    rate: () => 1e-3,
    tokensPerStep: 1,
  });
  const mild = one((w) => w.mul(16).sum().cast("f32"));
  const { events, outcome } = await run(mild, { precision: "f16", steps: 3 });
  // 16 · 2¹⁶ is above 65504, 16 · 2¹¹ is not.
  const scales = events.flatMap((e) => (e.event === "skip" ? [[e.reason, e.action, e.scale, e.step]] : []));
  assert.deepEqual(
    scales,
    [15, 14, 13, 12, 11].map((p) => ["overflow", "repeat", 2 ** p, 0]),
  );
  assert.equal(events.filter((e) => e.event === "step").length, 3, "no step is lost");
  const [w] = await outcome.model.w.data();
  assert.ok(Math.abs(Number(w) - (1 - 3 * 0.001 * (1 / Math.SQRT2))) < 1e-3, `clipped to a norm of 1: ${w}`);
  const wild = one((x) => x.mul(60000).sum().mul(60000).cast("f32"));
  await assert.rejects(run(wild, { precision: "f16", steps: 3 }), /the loss is Infinity/);
});

test("absurd options are refused", async () => {
  const cases: [Partial<TrainOptions>, RegExp][] = [
    [{ accumulate: 0 }, /accumulate must be a whole number/],
    [{ ema: 1 }, /ema must be a number of at least 0 and below 1/],
    [{ onSpike: { factor: 1, action: "skip" } }, /onSpike\.factor/],
    [{ earlyStop: { patience: 0.5 } }, /patience/],
    [{ precision: "f8" as "f16" }, /precision must be one of f32, bf16, f16, got f8/],
    [{ onNonFinite: "ignore" as "skip" }, /onNonFinite must be stop, skip or rewind/],
  ];
  for (const [options, message] of cases)
    await assert.rejects(run(tinyTask() as Task<unknown, TrainState<unknown>, unknown>, options), message);
});
