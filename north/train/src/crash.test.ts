/** A training run whose storage fails at every single write: power lost with anything of the unsynced kept, writes torn, the disk full,
 *  renames refused, again and again in one run. Once the first checkpoint is told of there is always a whole one, the newest can be read
 *  without a warning, and what goes on from it ends with the weights and moments, bit for bit, of a run that never failed. */
import assert from "node:assert/strict";
import test from "node:test";
import { device, FileError, type Files, latestCheckpoint, memoryFiles, openCheckpoints, PowerLoss, tree } from "sinan";
import { tinyTask } from "./fixtures/task.ts";
import { train } from "./loop.ts";
import { stored } from "./saved.ts";

const steps = 4;
const run = { steps, seed: 11, checkpointEvery: 1 } as const;
const fails = (message: string): never => assert.fail(message);

/** What one life of a run left behind. */
interface Life {
  /** The last step whose checkpoint was told of; −1 before the first. */
  readonly acknowledged: number;
  readonly losses: ReadonlyMap<number, number>;
  /** Why it ended; undefined if it came to its end. */
  readonly end: unknown;
}

/** Opens the directory, resumes what is there and trains until the end or until storage fails. */
async function live(files: Files): Promise<Life> {
  let acknowledged = -1;
  const losses = new Map<number, number>();
  try {
    const onWarning = fails;
    const checkpoints = await openCheckpoints(files, "run", { onWarning });
    const resume = (await checkpoints.latest({ onWarning })) ?? undefined;
    acknowledged = resume?.step ?? -1;
    for await (const event of train(tinyTask(), { ...run, checkpoints, resume, onWarning: () => undefined })) {
      if (event.event === "checkpoint") acknowledged = event.step;
      if (event.event === "step") losses.set(event.step, event.loss);
    }
    await checkpoints.close();
    return { acknowledged, losses, end: undefined };
  } catch (end) {
    assert.ok(end instanceof PowerLoss || end instanceof FileError, String(end));
    return { acknowledged, losses, end };
  }
}

/** The newest checkpoint, all of it as text. */
async function newest(files: Files): Promise<{ step: number; content: string }> {
  const found = await latestCheckpoint(files, "run", { onWarning: fails });
  if (found === null) return { step: -1, content: "" };
  const groups = Object.entries(found.tensors).map(([group, tensors]) => [
    group,
    [...tensors].map(([name, { shape, data }]) => [name, shape, String(data)]),
  ]);
  return { step: found.step, content: JSON.stringify([found.documents, groups]) };
}

interface Whole {
  readonly losses: ReadonlyMap<number, number>;
  /** The checkpoint of each step. */
  readonly contents: readonly string[];
  /** Storage steps of the run. */
  readonly storage: number;
}

/** The run that never fails. */
async function undisturbed(): Promise<Whole> {
  const files = memoryFiles();
  const contents: string[] = [];
  const losses = new Map<number, number>();
  const checkpoints = await openCheckpoints(files, "run");
  for await (const event of train(tinyTask(), { ...run, checkpoints })) {
    if (event.event === "step") losses.set(event.step, event.loss);
    if (event.event === "checkpoint") contents.push((await newest(files)).content);
  }
  await checkpoints.close();
  assert.equal(new Set(contents).size, steps + 1);
  return { losses, contents, storage: files.steps };
}

/** After a failure: the newest checkpoint is there, is that of its step, and none that was told of is lost. */
async function checked(files: Files, { acknowledged, losses }: Life, whole: Whole): Promise<number> {
  const { step, content } = (await files.exists("run")) ? await newest(files) : { step: -1, content: "" };
  assert.ok(step >= acknowledged, `step ${acknowledged} was told of, step ${step} is found`);
  if (step >= 0)
    assert.ok(content === whole.contents[step], `the checkpoint of step ${step} is that of an undisturbed run`);
  for (const [at, loss] of losses) assert.equal(loss, whole.losses.get(at), `loss of step ${at}`);
  return step;
}

async function finished(files: Files, whole: Whole): Promise<void> {
  const rest = await live(files);
  assert.equal(rest.end, undefined);
  assert.equal(await checked(files, rest, whole), steps);
  const names = await files.list("run");
  assert.ok(
    names.every((name) => name.startsWith("step-")),
    String(names),
  );
}

const mulberry = (seed: number): ((count: number) => number) => {
  let a = seed;
  return (count) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % count;
  };
};

test("power lost before every write of a run: the newest checkpoint is whole, and the rest of the run is bit-equal", async () => {
  await device("interpreter");
  const whole = await undisturbed();
  let crashes = 0;
  const kept = [() => 0, (count: number) => count - 1, mulberry(1), mulberry(2), mulberry(3)];
  for (let at = 0; at < whole.storage; at++) {
    const files = memoryFiles();
    files.fault = ({ index }) => (index === at ? "crash" : undefined);
    const life = await live(files);
    assert.ok(life.end instanceof PowerLoss);
    for (const [i, keep] of kept.entries()) {
      const found = files.afterCrash(keep);
      await checked(found, life, whole);
      crashes++;
      if (at % 2 === 0 && i === (at / 2) % kept.length) await finished(found, whole);
    }
  }
  assert.ok(crashes >= 500, `${crashes} crashes`);
});

for (const fault of [
  { fail: "ENOSPC", written: 7, first: 0 },
  { fail: "EIO", written: 0, first: 1 },
]) {
  test(`${fault.fail} at every other write and rename of a run: a typed error, and the same promises`, async () => {
    await device("interpreter");
    const whole = await undisturbed();
    let failures = 0;
    for (let at = fault.first; at < whole.storage; at += 2) {
      const files = memoryFiles();
      files.fault = ({ index }) => (index === at ? fault : undefined);
      const life = await live(files).catch((error: unknown) => {
        // An old checkpoint that cannot be removed is a warning and no reason to stop.
        assert.match(String(error), /an old checkpoint could not be removed/);
        return null;
      });
      files.fault = undefined;
      files.crash((count) => count - 1); // the process ended, and what it wrote is there
      if (life) await checked(files, life, whole);
      if (life?.end instanceof FileError) {
        failures++;
        assert.equal(life.end.code, fault.fail);
      }
      if (at % 16 < 2) await finished(files, whole);
    }
    assert.ok(failures > whole.storage / 3, `${failures} failures of ${whole.storage}`);
  });
}

test("a run that loses its power again and again, while it is swept up too, comes to the same end", async () => {
  await device("interpreter");
  const whole = await undisturbed();
  const random = mulberry(4);
  let crashes = 0;
  for (let trial = 0; trial < 8; trial++) {
    const files = memoryFiles();
    for (let lives = 0; ; lives++) {
      assert.ok(lives < 200, "the run makes progress");
      const until = files.steps + 1 + random(45);
      files.fault = ({ index }) => (index === until ? "crash" : undefined);
      const life = await live(files);
      files.fault = undefined;
      if (life.end === undefined) {
        assert.equal(await checked(files, life, whole), steps);
        break;
      }
      files.crash(random);
      crashes++;
      await checked(files, life, whole);
    }
  }
  assert.ok(crashes > 30, `${crashes} crashes`);
});

test("the check would notice weights, moments or a step that are not the run's", async () => {
  await device("interpreter");
  const whole = await undisturbed();
  const files = memoryFiles();
  await live(files);
  const life: Life = { acknowledged: steps, losses: new Map(), end: undefined };
  await checked(files, life, whole);
  const other = { ...whole, contents: whole.contents.with(steps, whole.contents[steps - 1] ?? "") };
  await assert.rejects(checked(files, life, other));
  await assert.rejects(checked(files, { ...life, acknowledged: steps + 1 }, whole));
  const task = tinyTask();
  assert.ok(
    whole.contents.every((content) => content.includes(Object.keys(task.optimizer.init(task.model))[1] ?? "?")),
  );
  assert.ok(tree.tensors(task.model).length > 0 && (await stored(task.model)).size > 0);
});
