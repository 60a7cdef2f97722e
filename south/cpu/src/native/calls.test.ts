/** Which submissions run on the calling thread: small ones, and those of a caller that waits for each. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Arenas } from "../arenas.ts";
import type { Ground, Submission, Workers } from "../submission.ts";
import { Calls } from "./calls.ts";
import { Commanders } from "./commander.ts";
import { NativeExecutable } from "./executable.ts";
import type { Pool } from "./pool/pool.ts";

const grain = 1000;

/** Calls over a pool that notes where its lists run, each for so many milliseconds. */
function rig(milliseconds: number) {
  const ran: string[] = [];
  const pool = {
    begin() {},
    with() {},
    launch() {},
    run() {
      ran.push("here");
      const end = performance.now() + milliseconds;
      while (performance.now() < end);
    },
    async runAsync() {
      ran.push("beside");
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
    },
  };
  const wasm = { isEmpty: true, wants: () => false, fly: () => false };
  const signals = new Map<bigint, () => void>();
  const ground = { signal: ({ value }: { value: bigint }) => signals.get(value)?.(), drain() {} };
  const calls = new Calls(
    { all: [] } as unknown as Arenas,
    pool as unknown as Pool,
    wasm as unknown as Workers,
    ground as unknown as Ground,
    new Commanders(),
    { threads: 2, grain },
  );
  let value = 0n;
  const submit = (grains: number): Promise<void> => {
    const executable = new NativeExecutable("k", [{ address: 1, extent: 1, work: grains * grain }], 0, 0);
    const signal = { timeline: 0, value: ++value };
    const submission: Submission = {
      commands: [{ kind: "launch", executable, regions: [], scalars: [] }],
      signal,
      waiting: 0,
      after: [],
      failure: undefined,
    };
    return new Promise((resolve) => {
      signals.set(signal.value, resolve);
      assert.ok(calls.fly(submission));
    });
  };
  return { ran, submit };
}

test("small submissions run on the calling thread", async () => {
  const { ran, submit } = rig(0.01);
  for (let i = 0; i < 3; i++) await submit(10);
  await submit(1000);
  assert.deepEqual(ran, ["here", "here", "here", "beside"]);
});

test("so do longer ones that took little time, once their caller has waited for some; not those of one that goes on", async () => {
  const { ran, submit } = rig(0.1);
  // A timer may be late.
  for (let i = 0; i < 200 && ran.at(-1) !== "here"; i++) await submit(1000);
  assert.equal(ran.at(-1), "here");
  assert.ok(ran.length > 3, `${ran.length}`);
  ran.length = 0;
  const all = Array.from({ length: 6 }, () => submit(1000));
  await Promise.all(all);
  assert.deepEqual(ran.slice(3), ["beside", "beside", "beside"]);
});

test("the host has turns while a caller waits for nothing but what runs on its thread", async () => {
  const { ran, submit } = rig(1);
  for (let i = 0; i < 200 && ran.at(-1) !== "here"; i++) await submit(1000);
  ran.length = 0;
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  for (let i = 0; i < 40; i++) await submit(1000);
  clearInterval(timer);
  // On a busy machine some take longer.
  const here = ran.filter((where) => where === "here").length;
  assert.ok(here >= 20, `${here} of 40`);
  assert.ok(turns >= here / 8, `${turns} turns in ${here} ms`);
});

test("what takes long runs beside the calling thread, whoever waits", async () => {
  const { ran, submit } = rig(12);
  for (let i = 0; i < 10; i++) await submit(1000);
  assert.deepEqual(new Set(ran), new Set(["beside"]));
});
