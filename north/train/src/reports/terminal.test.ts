import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import test from "node:test";
import type { ReportedEvent, StepEvent } from "../events.ts";
import { bytes, clock, grouped, rateText, sparkLine } from "./figures.ts";
import { jsonLine } from "./json-line.ts";
import { type Out, screen } from "./screen.ts";
import { terminalReport } from "./terminal.ts";

const escape = String.fromCharCode(27);

function paper(options: Partial<Out> = {}): Out & { text: string } {
  return {
    text: "",
    ...options,
    write(piece: string) {
      this.text += piece;
    },
  };
}

const step = (n: number, tokensPerSecond = 1000): StepEvent => ({
  event: "step",
  step: n,
  loss: 6 - n / 100,
  norm: 1,
  rate: 1e-3,
  tokensPerSecond,
  seconds: 0.1,
  peakBytes: 3e6,
});

/** What a terminal of that width shows in the end, by the control sequences that the display uses; a VT100 wraps when the next
 *  character comes. */
function shown(text: string, columns: number): { readonly lines: string[]; readonly cursor: boolean } {
  const rows: string[][] = [[]];
  let [row, column, cursor] = [0, 0, true];
  const control = new RegExp(`${escape}\\[([?\\d;]*)([A-Za-z])|[\\s\\S]`, "gu");
  for (const [token, parameter = "", final] of text.matchAll(control)) {
    const cells = (rows[row] ??= []);
    if (final === "m") continue;
    if (final === "K") cells.length = Math.min(cells.length, column);
    else if (final === "J") {
      cells.length = Math.min(cells.length, column);
      rows.length = row + 1;
    } else if (final === "A") row -= Number(parameter);
    else if (final === "h" || final === "l") cursor = final === "h";
    else if (final !== undefined) throw new RangeError(token);
    else if (token === "\r") column = 0;
    else if (token === "\n") [row, column] = [row + 1, 0];
    else {
      if (column === columns) [row, column] = [row + 1, 0];
      const now = (rows[row] ??= []);
      while (now.length < column) now.push(" ");
      now[column++] = token;
    }
    if (row < 0) throw new RangeError("above the screen");
  }
  return { lines: rows.map((cells) => cells.join("").trimEnd()), cursor };
}

/** An event with fields. */
const told = (event: string, fields: object): ReportedEvent => ({ event, ...fields });

test("away from a terminal: a plain line every few seconds, evaluations, and the last step", async () => {
  let time = 0;
  const out = paper();
  const report = terminalReport(out, { everyMs: 5000, now: () => time });
  report.event(told("start", { steps: 300, from: 0 }));
  for (let n = 1; n <= 300; n++) {
    time += 100;
    report.event(step(n));
    if (n === 100) report.event(told("eval", { step: n, loss: 4.5, bitsPerByte: 2.25 }));
    if (n === 120) report.event(told("warning", { step: n, message: "spike" }));
  }
  await report.close();
  const lines = out.text.trimEnd().split("\n");
  assert.deepEqual(lines.slice(0, 2), [
    "step   1/300  loss 5.990  1,000 tokens/s  ETA -:--",
    "step  51/300  loss 5.490  1,000 tokens/s  ETA 0:25",
  ]);
  assert.ok(lines.includes("step 100/300  held-out loss 4.500, 2.250 bits per byte"));
  assert.ok(lines.includes("warning  spike"));
  assert.equal(lines.at(-1), "step 300/300  loss 3.000  1,000 tokens/s  ETA 0:00");
  assert.equal(lines.length, 1 + 5 + 1 + 1 + 1);
  assert.ok(!out.text.includes(escape));
});

test("on a terminal: three lines that are redrawn in place, never wider than the screen, and taken away at the end", async () => {
  for (const columns of [12, 40, 60, 80, 200]) {
    let time = 0;
    const out = paper({ isTTY: true, columns });
    const report = terminalReport(out, { steps: 20, colour: true, now: () => time });
    for (let n = 1; n <= 19; n++) {
      time += 1000;
      report.event(step(n));
      if (n === 10) report.event(told("eval", { step: n, loss: 4.5 }));
      if (n === 11) report.event(told("memory", { step: n, process: 555_000_000 }));
    }
    const { lines, cursor } = shown(out.text, columns);
    const stays = columns === 12 ? 3 : 1; // a line that stays may wrap
    assert.equal(lines.length, stays + 3, lines.join("\n"));
    for (const line of lines) assert.ok(line.length < columns || stays === 3, `${columns}: ${line}`);
    assert.equal(cursor, false);
    if (columns === 80) {
      assert.match(lines[0] ?? "", /^step 10\/20 {2}held-out loss 4\.500$/);
      assert.match(lines[1] ?? "", /^step 19\/20 {2}━+╸?─* {2,3}95 % {2}ETA 0:01$/);
      assert.match(lines[2] ?? "", /^loss 5\.\d{3} {3}█[█▇▆▅▄▃▂▁]{18} {3}held-out 4\.500 at 10$/);
      assert.match(
        lines[3] ?? "",
        /^1,000 tokens\/s {3}rate 1\.0e-3 {3}norm 1\.00 {3}tensors 3\.00 MB {3}process 555 MB$/,
      );
    }
    await report.close();
    const after = shown(out.text, columns);
    assert.deepEqual([after.lines.length, after.cursor], [stays + 1, true]);
  }
});

test("without colours the same text has none", async () => {
  const out = paper({ isTTY: true, columns: 80 });
  const report = terminalReport(out, { steps: 20, colour: false });
  report.event(step(1));
  await report.close();
  assert.ok(!new RegExp(`${escape}\\[[\\d;]*m`).test(out.text));
});

test("a terminal that becomes narrower has broken the lines: all of their rows are drawn over", () => {
  const out = paper({ isTTY: true }) as Out & { text: string; columns: number };
  out.columns = 40;
  const area = screen(out, () => undefined);
  area.draw(["a".repeat(30), "b".repeat(30)]);
  out.columns = 20; // each line takes two rows now
  out.text = "";
  area.draw(["c", "d"]);
  assert.ok(out.text.startsWith(`\r${escape}[3A`), JSON.stringify(out.text));
  area.close();
});

/** A program whose standard error says that it is a terminal; `end` is its last line. */
const program = (end: string): string => `
Object.assign(process.stderr, { isTTY: true, columns: 80 });
const { terminalReport } = await import(${JSON.stringify(path.join(import.meta.dirname, "terminal.ts"))});
const report = terminalReport(process.stderr, { steps: 9, colour: false });
const step = (step) => report.event({ event: "step", step, loss: 1, tokensPerSecond: 10 });
step(1);
process.stderr.write("own line\\n");
step(9);
process.stderr.write("open");
step(9);
${end}
`;

for (const [how, end, signal, code] of [
  [
    "Ctrl-C that nobody listens for",
    'process.kill(process.pid, "SIGINT"); setInterval(() => {}, 1000);',
    "SIGINT",
    null,
  ],
  [
    "SIGTERM that the program answers",
    'process.on("SIGTERM", () => process.exit(3)); process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1000);',
    null,
    3,
  ],
  ["process.exit", "process.exit(4);", null, 4],
  ["an error", 'throw new Error("of its own");', null, 1],
  ["close", "await report.close();", null, 0],
] as const)
  test(`a program's own lines stay above the display, and the cursor comes back after ${how}`, {
    skip: process.platform === "win32",
  }, () => {
    const run = spawnSync(process.execPath, ["--input-type=module-typescript", "-e", program(end)], {
      encoding: "utf8",
      timeout: 60_000,
    });
    assert.deepEqual([run.signal, run.status], [signal, code], run.stderr);
    const { lines, cursor } = shown(run.stderr, 80);
    assert.equal(cursor, true, JSON.stringify(run.stderr));
    assert.deepEqual(lines.slice(0, 2), ["own line", "open"]);
    if (how === "close") assert.deepEqual(lines.slice(2), [""]);
    else assert.match(lines[2] ?? "", /^step 9\/9/);
  });

test("the time that is left follows the steps, not what comes between them", () => {
  let time = 0;
  const out = paper();
  const report = terminalReport(out, { steps: 1000, everyMs: 0, now: () => time });
  for (let n = 1; n <= 50; n++) {
    time += 100;
    report.event(step(n));
  }
  time += 60_000;
  report.event(told("eval", { step: 50, loss: 4 }));
  time += 100;
  report.event(step(51));
  assert.match(out.text.trimEnd().split("\n").at(-1) ?? "", /ETA 1:35$/);
});

test("JSON lines have the fields that programs were promised", () => {
  assert.equal(jsonLine(step(3, 1234.56)), '{"event":"step","step":3,"loss":5.97,"tokensPerSecond":1235}');
  assert.equal(
    jsonLine({ event: "eval", step: 3, loss: 1.5, bitsPerByte: 0.75 }),
    '{"event":"eval","step":3,"loss":1.5,"bitsPerByte":0.75}',
  );
  assert.equal(jsonLine({ event: "checkpoint", step: 3, path: "run/step-00000003" }), undefined);
});

test("figures as people read them", () => {
  assert.deepEqual([0, 999, 1000, 1234567.8].map(grouped), ["0", "999", "1,000", "1,234,568"]);
  assert.deepEqual([12, 999.6, 555e6, 1.234e9].map(bytes), ["12 B", "1.00 kB", "555 MB", "1.23 GB"]);
  assert.deepEqual([5, 65, 7207, Number.NaN].map(clock), ["0:05", "1:05", "2:00:07", "-:--"]);
  assert.deepEqual([0, 0.012, 3.2e-4].map(rateText), ["0", "0.012", "3.2e-4"]);
  assert.equal(sparkLine([3, 3]), "▁▁");
  assert.equal(sparkLine([1, 2, 3, 8]), "▁▂▃█");
  assert.equal(sparkLine([100, 8, 6, 4, 2, 1]), "██▆▄▂▁");
});
