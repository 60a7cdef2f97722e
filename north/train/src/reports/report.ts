/** What a run tells, told on: to a terminal, to files, to a page. A report reads the events it knows and passes over the rest;
 *  one that fails is left out of the run from there on, with a warning: no report ever stops a run. */
import type { Report, ReportedEvent } from "../events.ts";
import { numberIn } from "./event.ts";

/** Memory of the whole process while the run goes on, told about once a second where it is known. */
export interface MemoryEvent {
  readonly event: "memory";
  readonly step: number;
  /** Resident bytes. */
  readonly process: number;
}

/** Who is told of a report that fails, and how often memory is told. */
export interface ReportAllOptions {
  /** Default: `console.warn`. */
  readonly onWarning?: (message: string) => void;
  /** Between two `memory` events. Default 1000. */
  readonly memoryEveryMs?: number;
  readonly now?: () => number;
}

/** Several reports as one that never throws, and that adds `memory` events of its own after steps.
 *
 *  @example
 *  const report = reportAll([terminalReport(process.stderr), htmlReport({ files, path: "runs/a/report.html" })]);
 *  for await (const event of train(task, options)) report.event(event);
 *  await report.close(); */
export function reportAll(reports: readonly Report[], options: ReportAllOptions = {}): Report {
  const { onWarning = console.warn, memoryEveryMs = 1000, now = () => performance.now() } = options;
  const going = new Set(reports);
  let nextMemory = Number.NEGATIVE_INFINITY;

  const failed = (report: Report, error: unknown): void => {
    going.delete(report);
    onWarning(
      `a report failed and is left out from here on: ${error instanceof Error ? error.message : String(error)}`,
    );
  };
  const tell = (event: ReportedEvent): void => {
    for (const report of going) {
      try {
        report.event(event);
      } catch (error) {
        failed(report, error);
      }
    }
  };
  return {
    event(event) {
      tell(event);
      if (event.event !== "step" || going.size === 0 || now() < nextMemory) return;
      nextMemory = now() + memoryEveryMs;
      const resident = host.process?.memoryUsage?.rss?.();
      const step = numberIn(event, "step") ?? 0;
      const told: MemoryEvent | undefined =
        resident === undefined ? undefined : { event: "memory", step, process: resident };
      if (told) tell(told);
    },
    async close() {
      await Promise.all(
        [...going].map(async (report) => {
          try {
            await report.close();
          } catch (error) {
            failed(report, error);
          }
        }),
      );
    },
  };
}

const host = globalThis as { readonly process?: { readonly memoryUsage?: { rss?(): number } } };
