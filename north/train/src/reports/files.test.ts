/** Reports that are files: lines of events over kills and resumptions, and TensorBoard's records beside those of its own writer. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import type { ReportedEvent } from "../events.ts";
import { jsonlReport } from "./jsonl.ts";
import { fakeRun } from "./run.fixture.ts";
import { encodeEvent, record, tensorboardReport } from "./tensorboard.ts";

const folder = mkdtempSync(path.join(tmpdir(), "sinan-reports-"));
after(() => rmSync(folder, { recursive: true, force: true }));

type Line = Readonly<Record<string, unknown>> & { readonly event: string };

const linesOf = (file: string): Line[] =>
  readFileSync(file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);

/** Without what differs from one go to the next. */
const timeless = (lines: readonly Line[]): Line[] =>
  lines.filter(({ event }) => event !== "start").map(({ time: _, ...rest }) => rest as Line);

async function write(file: string, run: Parameters<typeof fakeRun>[0]): Promise<void> {
  const report = jsonlReport(file);
  for (const event of fakeRun(run)) report.event(event);
  await report.close();
}

/** An event with fields. */
const told = (event: string, fields: object): ReportedEvent => ({ event, ...fields });

test("a line an event, as it was told, with its time", async () => {
  const file = path.join(folder, "new", "directory", "events.jsonl");
  const report = jsonlReport(file, { now: () => 1_700_000_000_250 });
  const told = [...fakeRun({ steps: 40 }), { event: "invented", list: [1, 2], bad: Number.NaN }];
  for (const event of told) report.event(event);
  await report.close();
  assert.deepEqual(linesOf(file), JSON.parse(JSON.stringify(told.map((e) => ({ ...e, time: 1_700_000_000.25 })))));
});

test("a resumed run continues its file: each step once, in order, whatever was cut, torn or told again", async () => {
  const whole = path.join(folder, "whole.jsonl");
  await write(whole, { steps: 60 });
  const expected = timeless(linesOf(whole));
  for (const [until, from, torn] of [
    [37, 30, ""],
    [37, 30, '{"event":"step","step":3'],
    [37, 37, "\n"],
    [60, 60, ""], // killed in its last evaluation, or after it
    [59, 0, "{"],
    [12, 11, '{"event":"step","step":13}'], // whole, but for its newline
  ] as const) {
    const file = path.join(folder, `resumed-${until}-${from}-${torn.length}.jsonl`);
    await write(file, { steps: 60, until });
    appendFileSync(file, torn);
    const report = jsonlReport(file);
    for (const event of fakeRun({ steps: 60, from })) {
      report.event(event);
      // The loop evaluates at the last step again.
      if (from === 60 && event.event === "start") report.event(told("eval", { step: 60, loss: 1 }));
    }
    await report.close();
    const lines = timeless(linesOf(file));
    const done = lines.filter(({ event }) => event !== "done");
    assert.deepEqual(done, expected.slice(0, -1), `${until} ${from} ${torn}`);
  }
});

test("an older checkpoint cuts through a resumption, however long what follows is", async () => {
  const file = path.join(folder, "older.jsonl");
  await write(file, { steps: 3000, until: 1500 });
  await write(file, { steps: 3000, from: 1500, until: 2900 });
  await write(file, { steps: 3000, from: 20 });
  const steps = linesOf(file).flatMap(({ event, step }) => (event === "step" ? [step] : []));
  assert.deepEqual(
    steps,
    Array.from({ length: 3000 }, (_, i) => i + 1),
  );
  assert.equal(linesOf(file).filter(({ event }) => event === "start").length, 2);
});

test("kill −9 in the middle of writing tears at most the last line", {
  skip: process.platform === "win32",
}, async () => {
  const program = path.join(folder, "endless.ts");
  const at = (name: string): string => JSON.stringify(path.join(import.meta.dirname, name));
  writeFileSync(
    program,
    `const { jsonlReport } = await import(${at("jsonl.ts")});
const report = jsonlReport(process.argv[2]);
report.event({ event: "start", from: 0 });
for (let step = 1; ; step++) report.event({ event: "step", step, loss: Math.random(), long: "x".repeat(300) });`,
  );
  for (let n = 0; n < 3; n++) {
    const file = path.join(folder, `killed-${n}.jsonl`);
    const child = spawn(process.execPath, [program, file], { stdio: ["ignore", "ignore", "inherit"] });
    const size = (): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    while (child.exitCode === null && size() < 20_000 * (n + 1)) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
    const steps = lines.map((line) => (JSON.parse(line) as { step?: number }).step);
    assert.deepEqual(steps, [undefined, ...Array.from({ length: lines.length - 1 }, (_, i) => i + 1)]);
    assert.ok(lines.length > 50);
  }
});

interface Golden {
  readonly events: readonly Parameters<typeof encodeEvent>[0][];
  readonly records: readonly string[];
}

const golden = JSON.parse(
  readFileSync(path.join(import.meta.dirname, "../../../../tests/fixtures/tensorboard/events.json"), "utf8"),
) as Golden;

test("records are those of TensorBoard's own writer, byte for byte", () => {
  assert.ok(golden.events.length >= 8);
  golden.events.forEach((event, i) => {
    assert.equal(Buffer.from(record(encodeEvent(event))).toString("hex"), golden.records[i], JSON.stringify(event));
  });
});

test("an event file: version first, scalars by their headings, samples as text, a new session where a run is resumed", async () => {
  const directory = path.join(folder, "board");
  for (const from of [0, 6]) {
    const report = tensorboardReport(directory, { now: () => 1_700_000_000_500 });
    for (const event of fakeRun({ steps: 12, from })) report.event(event);
    await report.close();
  }
  const files = readdirSync(directory).sort();
  assert.equal(files.length, 2);
  const [first = "", second = ""] = files.map((file) => readFileSync(path.join(directory, file)).toString("latin1"));
  for (const text of [
    "brain.Event:2",
    "loss/train",
    "loss/held-out",
    "optimizer/learning rate",
    "memory/process bytes",
    "Call me Ishmael.",
  ])
    assert.ok(first.includes(text), text);
  const session = record(encodeEvent({ wallTime: 1_700_000_000.5, step: 7, sessionStart: true }));
  assert.ok(second.includes(Buffer.from(session).toString("latin1")));
  assert.ok(!first.includes(Buffer.from(session).toString("latin1")));
});

test("TensorBoard is told of the first session too, without which it takes a rewind for the beginning and keeps texts twice", async () => {
  const directory = path.join(folder, "rewound");
  const report = tensorboardReport(directory, { now: () => 5000 });
  for (const event of [
    { event: "start", steps: 9, from: 0 },
    { event: "step", step: 1, loss: 3 },
    { event: "skip", step: 4, to: 2 },
  ])
    report.event(event);
  await report.close();
  const [file = ""] = readdirSync(directory);
  const written = readFileSync(path.join(directory, file)).toString("latin1");
  const at = (step: number): number =>
    written.indexOf(Buffer.from(record(encodeEvent({ wallTime: 5, step, sessionStart: true }))).toString("latin1"));
  assert.ok(at(0) > 0 && at(0) < written.indexOf("loss/train") && written.indexOf("loss/train") < at(3));
});
