/** What a run keeps of itself in its directory: lines of events and a page, over a stop and a resumption. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { device } from "sinan";
import { Trainer } from "./trainer.ts";
import type { TrainerEvent } from "./trainer-events.ts";

const folder = mkdtempSync(path.join(tmpdir(), "sinan-records-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const text = "The spoon points south, whoever turns it. It has no needle and no glass.\n".repeat(120);
const trainer = (): Trainer =>
  new Trainer({ model: "llama-tiny", data: { text }, vocabSize: 260, seqLen: 8, batchSize: 2, seed: 3 });

interface Page {
  readonly name: string;
  readonly status: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly series: Readonly<Record<string, { readonly x: readonly number[]; readonly y: readonly number[] }>>;
  readonly notes: readonly { readonly kind: string }[];
}

const pageIn = (out: string): Page => {
  const page = readFileSync(path.join(out, "report.html"), "utf8");
  const [run] = JSON.parse(/id="runs">(.*?)<\/script>/s.exec(page)?.[1] ?? "[]") as Page[];
  assert.ok(run);
  return run;
};
const linesIn = (out: string): TrainerEvent[] =>
  readFileSync(path.join(out, "events.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as TrainerEvent);

test("a run that was stopped and resumed has each step once, with the losses of one that never stopped", async () => {
  await device("cpu");
  const quiet = { progress: null, checkpointEvery: 4, evaluateEvery: 5, onWarning: () => undefined } as const;
  const whole = path.join(folder, "whole");
  await trainer().train({ ...quiet, steps: 12, out: whole });

  const out = path.join(folder, "stopped");
  const stop = new AbortController();
  await trainer().train({
    ...quiet,
    steps: 12,
    out,
    signal: stop.signal,
    onEvent: (event) => event.event === "step" && event.step === 6 && stop.abort(),
  });
  assert.equal(pageIn(out).status, "stopped");
  await trainer().train({ ...quiet, out, resume: true });

  const losses = (from: string): (readonly [number, number])[] =>
    linesIn(from).flatMap((event) =>
      event.event === "step" || event.event === "eval" ? [[event.step, event.loss]] : [],
    );
  assert.deepEqual(losses(out), losses(whole));
  assert.equal(linesIn(out).at(-1)?.event, "done");
  const page = pageIn(out);
  assert.deepEqual([page.name, page.status, page.settings["seqLen"]], ["stopped", "done", 8]);
  assert.deepEqual(page.series["loss"], pageIn(whole).series["loss"]);
  assert.deepEqual(page.series["eval/loss"], pageIn(whole).series["eval/loss"]);
  assert.deepEqual(
    page.notes.map(({ kind }) => kind),
    ["resumed"],
  );
});

test("nothing is kept where that is not wanted", async () => {
  await device("cpu");
  const out = path.join(folder, "bare");
  await trainer().train({ steps: 1, out, progress: null, record: false });
  assert.ok(existsSync(out));
  for (const name of ["events.jsonl", "report.html"]) assert.ok(!existsSync(path.join(out, name)), name);
});
