/** A run as lines of JSON in a file that is only ever appended to: each event is there, whole, before the run goes on, so that
 *  a killed process loses none and tears at most the last line. A resumed run continues the file. */
import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync, writeSync } from "node:fs";
import path from "node:path";
import type { Report, ReportedEvent } from "../events.ts";
import { eventOf, numberIn } from "./event.ts";

/** The clock of the lines. */
export interface JsonlOptions {
  /** Milliseconds since 1970, for the `time` of each line. */
  readonly now?: () => number;
}

/** Writes each event as one line, with `time` in seconds since 1970 added. At a `start` event that says `from: n`, lines of steps
 *  after n are cut off, for the run tells them again; so is a torn last line. Numbers that are not finite are null.
 *
 *  @returns a report whose `event` throws the file system's error if the line cannot be written
 *  @example const report = jsonlReport("runs/mine/events.jsonl"); */
export function jsonlReport(file: string, { now = Date.now }: JsonlOptions = {}): Report {
  let descriptor: number | undefined;
  let from = 0;
  let told: ReadonlySet<string> = new Set();

  const open = (first: ReportedEvent): number => {
    mkdirSync(path.dirname(file), { recursive: true });
    const opened = openSync(file, "a+");
    const start = first.event === "start";
    from = (start ? numberIn(first, "from") : undefined) ?? 0;
    const end = endOfStep(opened, start ? from : Number.POSITIVE_INFINITY);
    ftruncateSync(opened, end.at);
    told = end.told;
    return opened;
  };
  return {
    event(event) {
      descriptor ??= open(event);
      // A run that was ended in its last evaluation evaluates again, at the step where it goes on.
      if (numberIn(event, "step") === from && told.has(event.event)) return;
      const fields = JSON.stringify(event).slice(0, -1);
      writeAll(descriptor, `${fields},"time":${Math.round(now()) / 1000}}\n`);
    },
    async close() {
      if (descriptor !== undefined) closeSync(descriptor);
      descriptor = undefined;
    },
  };
}

/** A text is given to the system as it is, which is cheaper; its bytes are made where it took a part of them only. */
function writeAll(descriptor: number, text: string): void {
  let at = writeSync(descriptor, text);
  if (at === Buffer.byteLength(text)) return;
  for (const bytes = Buffer.from(text); at < bytes.length; ) at += writeSync(descriptor, bytes, at);
}

const newline = 10;

/** Where the lines up to a step end, and the names of the events of that step. Read from the end: the file may be long. */
function endOfStep(descriptor: number, from: number): { at: number; told: Set<string> } {
  const { size } = fstatSync(descriptor);
  for (let window = 1 << 16; ; window *= 4) {
    const base = Math.max(0, size - window);
    const bytes = Buffer.alloc(size - base);
    for (let at = 0; at < bytes.length; ) at += readSync(descriptor, bytes, at, bytes.length - at, base + at);
    const told = new Set<string>();
    // What follows the last newline is torn.
    let stop = bytes.lastIndexOf(newline) + 1;
    let cut = stop;
    let decided = base === 0;
    while (stop > 0) {
      const begin = stop === 1 ? 0 : bytes.lastIndexOf(newline, stop - 2) + 1;
      if (begin === 0 && base > 0) break; // its beginning is not in the window
      const event = eventOf(bytes.toString("utf8", begin, stop - 1));
      const step = event && numberIn(event, "step");
      if (event === undefined || (step !== undefined && step > from)) {
        cut = begin;
        told.clear();
      } else if (step === from) told.add(event.event);
      else if (step !== undefined) {
        decided = true;
        break;
      }
      stop = begin;
    }
    if (decided) return { at: base + cut, told };
  }
}
