/** What a run pays for being told about: the time that the processor spends on a terminal's display, lines of JSON, TensorBoard's file
 *  and the page, as a share of the step. Events come as `npm start` has them (a step in 20 ms, an evaluation and a sample each 2 s)
 *  and nothing is learned between, so that a busy machine changes little; what a process that waits as long spends is taken off. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { htmlReport, type Report, reportAll, terminalReport } from "@sinan/train";
import { jsonlReport, nodeFiles, tensorboardReport } from "@sinan/train/node";
import type { Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median } from "../measure.ts";

const stepMs = 20;

export const cases: Cases = async function* ({ seconds, quick }): AsyncGenerator<Figure> {
  const steps = Math.max(quick ? 50 : 500, Math.round((seconds * 1000) / stepMs));
  const shares: number[] = [];
  for (let round = 0; round < (quick ? 1 : 3); round++) {
    const folder = mkdtempSync(path.join(os.tmpdir(), "sinan-bench-"));
    const files = nodeFiles();
    const reports = [
      terminalReport({ write: () => true, isTTY: true, columns: 100 }),
      jsonlReport(path.join(folder, "events.jsonl")),
      tensorboardReport(folder),
      htmlReport({ files, path: path.join(folder, "report.html") }),
    ];
    const told = await spent(reports, steps);
    const alone = await spent([], steps);
    rmSync(folder, { recursive: true });
    shares.push((told - alone) / (steps * stepMs * 1000));
  }
  const figure = { bench: "reports", device: "cpu", threads: 1 } as const;
  yield { ...figure, case: "share", value: 100 * median(shares), unit: "%", note: `of a step of ${stepMs} ms` };
};

/** Microseconds of the processor, of all threads, from the first event until all is written. */
async function spent(reports: readonly Report[], steps: number): Promise<number> {
  const before = process.cpuUsage();
  const report = reportAll(reports);
  const tell = (event: string, fields: object): void => report.event({ event, ...fields });
  tell("start", { parameters: 418_272, steps, from: 0, tokensPerStep: 512 });
  const begin = performance.now();
  for (let step = 1; step <= steps; step++) {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, begin + step * stepMs - performance.now())));
    const loss = 4 + 3 / step + 0.1 * Math.sin(step);
    tell("step", { step, loss, norm: 1, rate: 1e-3, tokensPerSecond: 25_000 });
    if (step % 100 !== 0) continue;
    tell("eval", { step, loss, bitsPerByte: loss / 2 });
    tell("sample", { step, text: "Call me Ishmael. Some years ago, never mind how long." });
  }
  await report.close();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}
