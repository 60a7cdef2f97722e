/** The page of a run: what it is made of, when it is written, what that costs. How it looks is `tests/report-page.test.ts`. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import type { Files } from "sinan";
import type { Report, ReportedEvent } from "../events.ts";
import { nodeFiles } from "../files/index.ts";
import { numberIn } from "./event.ts";
import { htmlReport } from "./html.ts";
import { jsonlReport } from "./jsonl.ts";
import { pageOf } from "./page.ts";
import { type RunData, runRecord } from "./record.ts";
import { reportAll } from "./report.ts";
import { fakeRun, fakeSettings } from "./run.fixture.ts";
import { series } from "./series.ts";
import { tensorboardReport } from "./tensorboard.ts";
import { terminalReport } from "./terminal.ts";

const folder = mkdtempSync(path.join(tmpdir(), "sinan-page-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const dataIn = (page: string): RunData[] =>
  JSON.parse(/<script type="application\/json" id="runs">(.*?)<\/script>/s.exec(page)?.[1] ?? "null") as RunData[];

const recordOf = (run: Parameters<typeof fakeRun>[0], points?: number) => {
  const record = runRecord({ name: "run", settings: fakeSettings(run), ...(points === undefined ? {} : { points }) });
  for (const event of fakeRun(run)) record.event(event, 1000 + (numberIn(event, "step") ?? 0) / 10);
  return record;
};

/** An event with fields. */
const told = (event: string, fields: object): ReportedEvent => ({ event, ...fields });

test("a curve has a bounded number of points, each with the mean and the range of equally many values", () => {
  const curve = series(8);
  for (let n = 1; n <= 3; n++) curve.add(n, n * n);
  assert.deepEqual(curve.data(), { x: [1, 2, 3], y: [1, 4, 9] });
  for (let n = 4; n <= 18; n++) curve.add(n, n * n);
  // 18 values, 8 points at most: four each, and two in the last.
  const square = (n: number): number => n * n;
  const starts = [1, 5, 9, 13, 17];
  const groups = starts.map((start) => Array.from({ length: Math.min(4, 19 - start) }, (_, i) => square(start + i)));
  assert.deepEqual(curve.data(), {
    x: [4, 8, 12, 16, 18],
    y: groups.map((g) => g.reduce((a, b) => a + b, 0) / g.length),
    low: groups.map((g) => Math.min(...g)),
    high: groups.map((g) => Math.max(...g)),
  });
  curve.add(19, Number.NaN);
  curve.add(Number.POSITIVE_INFINITY, 1);
  assert.equal(curve.data().x.at(-1), 18);
});

test("a record holds what the events told, whatever they are", () => {
  const record = recordOf({ steps: 240 });
  record.event(told("invented", { step: 240, accuracy: 0.75, note: "?" }), 1024);
  record.event({ event: "nothing at all" }, 1024);
  record.close();
  const data = record.data();
  assert.deepEqual(Object.keys(data.series).sort(), [
    "elapsed",
    "eval/bitsPerByte",
    "eval/loss",
    "invented/accuracy",
    "loss",
    "memory/process",
    "norm",
    "peakBytes",
    "rate",
    "seconds",
    "tokensPerSecond",
  ]);
  assert.deepEqual([data.status, data.step, data.steps, data.tokensPerStep], ["done", 240, 240, 512]);
  assert.deepEqual(data.series["invented/accuracy"], { x: [240], y: [0.75] });
  assert.equal(data.series["loss"]?.x.length, 240);
  assert.equal(data.settings["model.hidden_size"], 96);
  assert.equal(data.settings["parameters"], 418_272);
  assert.deepEqual(
    data.notes.map(({ kind }) => kind),
    ["warning", "skip"],
  );
  assert.equal(data.samples.length, 12);
});

test("a run that goes back to a checkpoint has each step once", () => {
  for (const points of [1024, 16]) {
    const record = runRecord({ name: "rewound", points });
    const steps = (run: Parameters<typeof fakeRun>[0]): void => {
      for (const event of fakeRun(run))
        if (event.event !== "start") record.event(event, 1000 + (numberIn(event, "step") ?? 0) / 10);
    };
    steps({ steps: 240, until: 110 });
    record.event(told("skip", { step: 110, action: "rewind", to: 80, message: "spike: back to step 80" }), 1011);
    assert.equal(record.data().step, 80);
    steps({ steps: 240, from: 80 });
    const { series: curves, samples, notes } = record.data();
    for (const [name, { x }] of Object.entries(curves))
      assert.deepEqual(
        x,
        [...new Set(x)].sort((a, b) => a - b),
        name,
      );
    if (points === 1024) assert.deepEqual(curves["loss"], recordOf({ steps: 240 }).data().series["loss"]);
    assert.equal(samples.length, 12);
    assert.equal(notes[0]?.text, "spike: back to step 80");
  }
});

test("a page is of bounded size, and nothing in it ends its elements", () => {
  const small = pageOf([recordOf({ steps: 20_000 }).data()]).length;
  const large = pageOf([recordOf({ steps: 80_000 }).data()]).length;
  assert.ok(large < 1.2 * small && large < 400_000, `${small} and ${large} characters`);
  const record = runRecord({ name: "</title><b>", settings: { text: "</script><script>alert(1)" } });
  record.event(told("sample", { text: "</script><!--" }), 1);
  const page = pageOf([record.data()]);
  assert.equal(page.match(/<\/script>/g)?.length, 2);
  assert.ok(page.includes("<title>&lt;/title&gt;&lt;b&gt; · Sinan</title>"));
  assert.deepEqual(dataIn(page), [record.data()]);
});

test("a resumed run's page has the curves of the run that never stopped", async () => {
  const files = nodeFiles();
  const history = path.join(folder, "history", "events.jsonl");
  const page = path.join(folder, "history", "report.html");
  for (const run of [
    { steps: 3000, until: 2100 },
    { steps: 3000, from: 1700 },
  ]) {
    const report = reportAll([jsonlReport(history), htmlReport({ files, path: page, history })], {
      memoryEveryMs: 1e9,
    });
    for (const event of fakeRun(run)) report.event(event);
    await report.close();
  }
  const [data] = dataIn(readFileSync(page, "utf8"));
  const whole = recordOf({ steps: 3000 }).data();
  for (const name of ["loss", "eval/loss", "norm", "rate"])
    assert.deepEqual(data?.series[name], whole.series[name], name);
  assert.deepEqual(data?.samples, whole.samples);
  assert.deepEqual(
    data?.notes.map(({ kind, step }) => [kind, step]),
    [
      ["resumed", 1700],
      ["warning", 1860],
      ["skip", 2100],
    ].sort((a, b) => Number(a[1]) - Number(b[1])),
  );
  assert.equal(data?.name, "history");
});

test("pages wait for each other, and a slow disk holds no event up", async () => {
  let [writing, most, written] = [0, 0, 0];
  const files = {
    write: async () => {
      most = Math.max(most, ++writing);
      await new Promise((resolve) => setTimeout(resolve, 30));
      writing--;
      written++;
    },
    mkdir: async () => undefined,
    rename: async () => undefined,
    fsyncDirectory: async () => undefined,
  } as unknown as Files;
  const report = htmlReport({ files, path: "run/report.html", everyMs: 1 });
  let inside = 0;
  for (const event of fakeRun({ steps: 400 })) {
    const begin = performance.now();
    report.event(event);
    inside += performance.now() - begin;
    await new Promise(setImmediate);
  }
  await report.close();
  assert.equal(most, 1);
  assert.ok(written >= 2);
  assert.ok(inside < 30 * written, `${inside} ms were spent in calls, ${written} pages written in 30 ms each`);
});

test("a report that fails is left out with one warning; the others go on", async () => {
  const warnings: string[] = [];
  const heard: string[] = [];
  const good: Report = { event: ({ event }) => void heard.push(event), close: async () => void heard.push("closed") };
  const bad: Report = {
    event({ event }) {
      if (event === "step") throw new Error("disk full");
    },
    close: () => Promise.reject(new Error("never asked")),
  };
  const worse: Report = { event: () => undefined, close: () => Promise.reject(new Error("cannot close")) };
  const report = reportAll([bad, good, worse], { onWarning: (message) => void warnings.push(message) });
  for (const event of ["start", "step", "step", "odd"]) report.event({ event });
  await report.close();
  assert.deepEqual(heard, ["start", "step", "memory", "step", "odd", "closed"]);
  assert.deepEqual(warnings, [
    "a report failed and is left out from here on: disk full",
    "a report failed and is left out from here on: cannot close",
  ]);
});

test("all reports together take less than a hundredth of the main job's step, which is 20 ms", async () => {
  const out = { write: () => true, isTTY: true, columns: 100 };
  const history = path.join(folder, "cost", "events.jsonl");
  const page = path.join(folder, "cost", "report.html");
  const all = (): Report[] => [
    terminalReport(out),
    jsonlReport(history),
    tensorboardReport(path.join(folder, "cost")),
    htmlReport({ files: nodeFiles(), path: page, history, everyMs: 200 }),
  ];
  const events = [...fakeRun({ steps: 400 })];
  /** Of all threads, in milliseconds a step. */
  const cost = async (reports: Report[]): Promise<number> => {
    const report = reportAll(reports);
    for (const event of fakeRun({ steps: 1500 })) report.event(event); // compiled by then
    const begin = process.cpuUsage();
    for (const event of events) {
      report.event(event);
      if (event.event === "step") await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const { user, system } = process.cpuUsage(begin);
    await report.close();
    return (user + system) / 1000 / 400;
  };
  const without = await cost([]);
  const own = (await cost(all())) - without;
  assert.ok(own < 0.2, `${own.toFixed(3)} ms of processors a step`);
});
