/** A run as one page in one file: written anew every few seconds, whole or not at all, from a record of bounded size. What it
 *  costs is bounded too: the next page waits until the last one is a small share of the time since. */
import { type Files, hostTurn, type Json, parentPath, replaceFile } from "sinan";
import type { Report, ReportedEvent } from "../events.ts";
import { eventOf, numberIn } from "./event.ts";
import { type RunData, runRecord } from "./record.ts";

/** Where a page is written, how often, and what it shows beside the events. */
export interface HtmlOptions {
  readonly files: Files;
  /** Of the page. */
  readonly path: string;
  /** The page's title. Default: the name of the page's directory. */
  readonly name?: string;
  /** What the run was asked to do, for the table of settings. */
  readonly settings?: Readonly<Record<string, Json>>;
  /** What `jsonlReport` writes: a resumed run's page begins with the curves that are there. */
  readonly history?: string;
  /** Other runs on the same page. */
  readonly compare?: readonly RunData[];
  /** At least so long from page to page. Default 5000. */
  readonly everyMs?: number;
  readonly now?: () => number;
}

/** Of the time between two pages, at most a thousandth is spent on making one. */
const restPerWork = 1000;
/** Events are put into the record many at a time: code that runs seldom is slow, and a step should not wait for it. */
const mostWaiting = 512;
/** Lines of a history that are read between two turns of the host. */
const linesPerTurn = 500;

/** Keeps a page about the run up to date. `close` writes its last state; its error, or that of an earlier page, is thrown there.
 *
 *  @example const report = htmlReport({ files: nodeFiles(), path: "runs/mine/report.html" }); */
export function htmlReport(options: HtmlOptions): Report {
  const { files, path, history, compare = [], everyMs = 5000, now = () => performance.now() } = options;
  const name = options.name ?? path.split(/[\\/]/).at(-2) ?? path;
  const record = runRecord({ name, ...(options.settings && { settings: options.settings }) });
  /** Events that are not in the record yet: until the next page, or the history is read. */
  let waiting: [ReportedEvent, number][] = [];
  let reading = false;
  let working: Promise<void> = Promise.resolve();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let nextAt = Number.NEGATIVE_INFINITY;
  let made = false;

  const take = (): void => {
    const events = waiting;
    waiting = [];
    for (const [event, time] of events) record.event(event, time);
  };
  const write = async (): Promise<void> => {
    // Script and style of a page are most of this package, and a bundle for pages that write none has them apart.
    const { pageOf } = await import("./page.ts");
    const begin = now();
    take();
    const page = new TextEncoder().encode(pageOf([record.data(), ...compare]));
    const spent = now() - begin;
    nextAt = now() + Math.max(everyMs, spent * restPerWork);
    if (!made) await files.mkdir(parentPath(path));
    made = true;
    await replaceFile(files, path, [page]);
  };
  const catchUp = async (from: number, file: string): Promise<void> => {
    for await (const [event, time] of linesOf(files, file, from)) record.event(event, time);
    reading = false;
  };
  let failure: { readonly error: unknown } | undefined;
  const work = (job: () => Promise<void>): void => {
    working = working.then(job).catch((error: unknown) => void (failure ??= { error }));
  };
  return {
    event(event) {
      if (failure) throw failure.error;
      const time = Date.now() / 1000;
      const from = event.event === "start" ? numberIn(event, "from") : undefined;
      if (from !== undefined && from > 0 && history !== undefined) {
        take();
        reading = true;
        work(() => catchUp(from, history));
      }
      waiting.push([event, time]);
      if (waiting.length > mostWaiting && !reading) take();
      if (timer !== undefined || now() < nextAt) return;
      // Later: while the device computes the next step.
      timer = setTimeout(() => {
        work(write);
        void working.then(() => (timer = undefined));
      }, 0);
    },
    async close() {
      clearTimeout(timer);
      work(async () => {
        take();
        record.close();
      });
      work(write);
      await working;
      if (failure) throw failure.error;
    },
  };
}

const pieceBytes = 1 << 20;

/** The events of a file of lines up to a step, each with its time. The host gets turns in between. */
async function* linesOf(files: Files, path: string, from: number): AsyncGenerator<[ReportedEvent, number]> {
  if (!(await files.exists(path))) return;
  const { size } = await files.stat(path);
  const decoder = new TextDecoder();
  let rest = "";
  let count = 0;
  for (let at = 0; at < size; at += pieceBytes) {
    rest += decoder.decode(await files.readRange(path, at, Math.min(pieceBytes, size - at)), { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const event = eventOf(line);
      if (event && (numberIn(event, "step") ?? 0) <= from) yield [event, numberIn(event, "time") ?? 0];
      if (++count % linesPerTurn === 0) await hostTurn();
    }
  }
}
