import assert from "node:assert/strict";
import test from "node:test";
import {
  type Checkpoint,
  CheckpointError,
  type Checkpoints,
  device,
  latestCheckpoint,
  memoryFiles,
  NonFiniteError,
  openCheckpoints,
  tree,
} from "sinan";
import { type Model, tinyTask } from "./fixtures/task.ts";
import { train } from "./loop.ts";
import type { Outcome, TrainOptions } from "./options.ts";
import type { TrainEvent } from "./events.ts";
import type { Task, TrainState } from "./task.ts";

const steps = 40;

interface Run<M> {
  readonly losses: readonly number[];
  readonly events: readonly TrainEvent[];
  readonly outcome: Outcome<M>;
}

/** Trains to the end, or until the step after which it is stopped. */
async function run<M, S extends TrainState<M>, B>(
  task: Task<M, S, B>,
  options: TrainOptions,
  stopAfter = Number.POSITIVE_INFINITY,
): Promise<Run<M>> {
  const controller = new AbortController();
  const going = train(task, { ...options, signal: controller.signal });
  const losses: number[] = [];
  const events: TrainEvent[] = [];
  for (;;) {
    const { done, value } = await going.next();
    if (done) return { losses, events, outcome: value };
    events.push(value);
    if (value.event !== "step") continue;
    losses.push(value.loss);
    if (value.step >= stopAfter) controller.abort();
  }
}

const bytesOf = async (model: unknown): Promise<string[]> =>
  Promise.all(tree.tensors(model).map(async ({ path, tensor }) => `${path} ${String(await tensor.bytes())}`));

const saved = async (checkpoints: Checkpoints): Promise<Checkpoint> => {
  const found = await checkpoints.latest();
  assert.ok(found);
  return found;
};

for (const name of ["interpreter", "cpu", "sim"]) {
  test(`${name}: stopped after any step and resumed, a run gives the losses and weights of one that never stopped`, async () => {
    await device(name);
    const whole = await run(tinyTask(), { steps, seed: 3 });
    assert.equal(whole.losses.length, steps);
    assert.equal(new Set(whole.losses).size, steps, "each step has a batch and a dropout mask of its own");
    const expected = await bytesOf(whole.outcome.model);
    for (let stop = 1; stop < steps; stop++) {
      const checkpoints = await openCheckpoints(memoryFiles(), "/run");
      const first = await run(tinyTask(), { steps, seed: 3, checkpoints }, stop);
      assert.deepEqual([first.outcome.step, first.outcome.stopped, first.losses.length], [stop, true, stop]);
      const second = await run(tinyTask(), { steps, seed: 3, checkpoints, resume: await saved(checkpoints) });
      assert.deepEqual([...first.losses, ...second.losses], whole.losses, `stopped after step ${stop}`);
      assert.deepEqual(await bytesOf(second.outcome.model), expected);
    }
  });

  test(`${name}: killed after any step, a run continues from its newest checkpoint with the losses of one that never stopped`, async () => {
    await device(name);
    const whole = await run(tinyTask(), { steps: 12, seed: 5 });
    for (let stop = 0; stop <= 12; stop++) {
      const files = memoryFiles();
      const options = { steps: 12, seed: 5, checkpointEvery: 5 };
      const dying = train(tinyTask(), { ...options, checkpoints: await openCheckpoints(files, "/run") });
      // The generator is left where it stands, with the lock held, as a killed process leaves it.
      for (let step = 0; step < stop; ) {
        const { value } = await dying.next();
        if (value && "event" in value && value.event === "step") step = value.step;
      }
      if (stop === 0) await dying.next();
      const resume = await latestCheckpoint(files, "/run");
      assert.ok(resume);
      assert.equal(resume.step, Math.floor(Math.max(0, stop - 1) / 5) * 5);
      const rest = await run(tinyTask(), { ...options, resume });
      assert.deepEqual(rest.losses, whole.losses.slice(resume.step));
    }
  });

  test(`${name}: a step whose loss is not finite is not taken`, async () => {
    await device(name);
    const checkpoints = await openCheckpoints(memoryFiles(), "/run");
    const events: TrainEvent[] = [];
    await assert.rejects(
      async () => {
        for await (const event of train(tinyTask({ rate: 1e30 }), { steps, seed: 0, checkpoints })) events.push(event);
      },
      (error: unknown) => {
        assert.ok(error instanceof NonFiniteError);
        assert.match(
          error.message,
          /^train: step 2: the loss is (Infinity|NaN).*the gradient of (first|second)\.weight is the first/,
        );
        assert.match(error.message, /step-00000001.*smaller learning rate/);
        return true;
      },
    );
    assert.deepEqual(
      events.map(({ event, step }) => `${event} ${step}`),
      ["checkpoint 0", "step 1"],
    );
    const { step, tensors } = await saved(checkpoints);
    assert.equal(step, 1);
    for (const { data } of tensors["model"]?.values() ?? []) {
      for (const value of new Float32Array(new Uint8Array(data).buffer))
        assert.ok(Number.isFinite(value), "the saved weights are those before the step");
    }
  });

  test(`${name}: a poisoned weight is named`, async () => {
    await device(name);
    await assert.rejects(
      run(tinyTask({ poison: 3 }), { steps, seed: 0 }),
      /NonFiniteError.*step 1.*parameter first\.weight is not finite/s,
    );
  });
}

test("dropout differs with the seed and is the same without dropout", async () => {
  await device("interpreter");
  const options = { steps: 3 };
  const [a, b, plain, again] = [
    await run(tinyTask(), { ...options, seed: 1 }),
    await run(tinyTask(), { ...options, seed: 2 }),
    await run(tinyTask({ dropout: 0 }), { ...options, seed: 1 }),
    await run(tinyTask({ dropout: 0 }), { ...options, seed: 2 }),
  ];
  assert.notDeepEqual(a.losses, b.losses);
  assert.deepEqual(plain.losses, again.losses);
});

test("evaluations and checkpoints come when they are asked for, and the end has both", async () => {
  await device("interpreter");
  const checkpoints = await openCheckpoints(memoryFiles(), "/run");
  const { events, outcome } = await run(tinyTask(), {
    steps: 10,
    seed: 0,
    checkpoints,
    checkpointEvery: 4,
    evaluateEvery: 5,
  });
  const told = events.filter(({ event }) => event !== "step").map(({ event, step }) => `${event} ${step}`);
  assert.deepEqual(told, ["checkpoint 0", "checkpoint 4", "eval 5", "checkpoint 8", "checkpoint 10", "eval 10"]);
  assert.deepEqual([outcome.step, outcome.stopped, outcome.checkpoint], [10, false, "/run/step-00000010"]);
  assert.equal(outcome.evaluation?.bitsPerByte, (outcome.evaluation?.loss ?? 0) / Math.LN2);
  const again = await run(tinyTask(), { steps: 10, seed: 0, checkpoints, resume: await saved(checkpoints) });
  assert.deepEqual(
    again.events.map(({ event, step }) => `${event} ${step}`),
    ["eval 10"],
    "a run that is finished is evaluated and no more",
  );
  assert.deepEqual(again.outcome.evaluation, outcome.evaluation);
});

test("the caller's model is not taken away", async () => {
  await device("interpreter");
  const task = tinyTask();
  const before = await bytesOf(task.model);
  await run(task, { steps: 2, seed: 0 });
  assert.deepEqual(await bytesOf(task.model), before);
});

test("a checkpoint of another run is refused, and the error names what differs", async () => {
  await device("interpreter");
  const files = memoryFiles();
  const checkpoints = await openCheckpoints(files, "/run");
  const facts = { data: "abc", batch: [6, 5], model: { width: 8, layers: 2 } };
  await run(tinyTask(), { steps: 4, seed: 0, checkpoints, facts }, 2);
  const resume = await latestCheckpoint(files, "/run");
  assert.ok(resume);
  const cases: [RegExp, Partial<TrainOptions>][] = [
    [/data differs: the checkpoint was made with "abc", this run has "abd"/, { facts: { ...facts, data: "abd" } }],
    [/batch differs: .*\[6, 5\], this run has \[6, 4\]/, { facts: { ...facts, batch: [6, 4] } }],
    [/model differs: .*layers: 2.*layers: 3/, { facts: { ...facts, model: { layers: 3, width: 8 } } }],
    [/seed differs: .*0, this run has 1/, { seed: 1 }],
    [/steps differs: .*4, this run has 5/, { steps: 5 }],
    [/data differs: .*"abc", this run has nothing/, { facts: { batch: [6, 5], model: facts.model } }],
  ];
  for (const [message, changes] of cases) {
    await assert.rejects(run(tinyTask(), { steps: 4, seed: 0, facts, resume, ...changes }), (error: unknown) => {
      assert.ok(error instanceof CheckpointError);
      assert.match(error.message, message);
      return true;
    });
  }
  const same = await run(tinyTask(), {
    steps: 4,
    seed: 0,
    facts: { ...facts, model: { layers: 2, width: 8 } },
    resume,
  });
  assert.equal(same.losses.length, 2, "the order of keys does not matter");
});

test("tensors of another shape are refused before anything runs", async () => {
  await device("interpreter");
  const checkpoints = await openCheckpoints(memoryFiles(), "/run");
  await run(tinyTask(), { steps: 4, seed: 0, checkpoints }, 2);
  const resume = await saved(checkpoints);
  const model = new Map(resume.tensors["model"]);
  const weight = model.get("first.weight");
  assert.ok(weight);
  const other = (tensors: typeof model): Checkpoint => ({ ...resume, tensors: { ...resume.tensors, model: tensors } });
  const cases: [RegExp, Checkpoint][] = [
    [
      /first\.weight is f32\[4, 10\], expected f32\[5, 8\]/,
      other(new Map(model).set("first.weight", { ...weight, shape: [4, 10] })),
    ],
    [/third\.weight is not a part of this model/, other(new Map(model).set("third.weight", weight))],
    [/second\.weight is missing/, other(new Map([...model].filter(([name]) => name !== "second.weight")))],
    [/optimizer\.safetensors: the checkpoint has no such file/, { ...resume, tensors: { model } }],
    [/trainer\.json is missing/, { ...resume, documents: {} }],
  ];
  for (const [message, resume] of cases) {
    await assert.rejects(
      run(tinyTask(), { steps: 4, seed: 0, resume }),
      (error: unknown) => error instanceof CheckpointError && message.test(error.message),
    );
  }
});

test("another device may continue a run, and says that the bits will differ", async () => {
  await device("interpreter");
  const checkpoints = await openCheckpoints(memoryFiles(), "/run");
  const first = await run(tinyTask(), { steps: 6, seed: 0, checkpoints }, 3);
  const whole = await run(tinyTask(), { steps: 6, seed: 0 });
  await device("cpu");
  const warnings: string[] = [];
  const onWarning = (message: string): void => void warnings.push(message);
  const second = await run(tinyTask(), { steps: 6, seed: 0, checkpoints, resume: await saved(checkpoints), onWarning });
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /another numeric plan.*driver "interpreter" → "cpu"/);
  [...first.losses, ...second.losses].forEach((loss, i) => assert.ok(Math.abs(loss - (whole.losses[i] ?? 0)) < 1e-5));
});

test("absurd lengths are refused", async () => {
  for (const steps of [0, -1, 1.5, Number.NaN, 1e99]) {
    await assert.rejects(
      run(tinyTask(), { steps, seed: 0 }),
      /ArgumentError.*steps must be a whole number of at least 1/s,
    );
  }
});

test("an evaluation that is cut short by the signal is made first when the run goes on, and counts as if it had not been", async () => {
  await device("cpu");
  for (const at of [2, 6]) {
    const options = { steps: 6, seed: 0, evaluateEvery: 2, earlyStop: { patience: 9 } } as const;
    const told = async (task: ReturnType<typeof tinyTask>, more: object = {}) => {
      const events: string[] = [];
      const going = train(task, { ...options, ...more });
      for (let next = await going.next(); ; next = await going.next()) {
        if (next.done) return { events, outcome: next.value };
        const { event, step } = next.value;
        if (event === "step" || event === "eval") events.push(`${event} ${step} ${next.value.loss}`);
      }
    };
    const whole = await told(tinyTask());
    const checkpoints = await openCheckpoints(memoryFiles(), "/run");
    const stopping = new AbortController();
    const inner = tinyTask();
    let evaluations = 0;
    const task = {
      ...tinyTask(),
      async evaluate(model: Model, signal?: AbortSignal) {
        if (++evaluations === at / 2) stopping.abort();
        signal?.throwIfAborted();
        return inner.evaluate?.(model) ?? { loss: Number.NaN };
      },
    };
    const first = await told(task, { checkpoints, signal: stopping.signal });
    assert.equal(first.outcome.stopped, true);
    assert.equal(first.outcome.step, at);
    const resume = (await checkpoints.latest()) ?? undefined;
    assert.equal(resume?.step, at);
    const second = await told(tinyTask(), { checkpoints, resume });
    assert.deepEqual([...first.events, ...second.events], whole.events);
    assert.equal(second.outcome.stopped, false);
  }
});
