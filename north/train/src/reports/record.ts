/** All that a page shows of a run, gathered from its events and bounded in size: curves, samples, notes, settings. */
import type { Json } from "sinan";
import type { ReportedEvent } from "../events.ts";
import { numberIn, textIn } from "./event.ts";
import { type Series, series, type SeriesData } from "./series.ts";

/** Text that the model gave. */
export interface RunSample {
  readonly step: number | null;
  readonly prompt: string;
  readonly text: string;
}

/** Something that a reader of the page should know. */
export interface RunNote {
  readonly step: number | null;
  /** `warning`, `skip`, `resumed` … */
  readonly kind: string;
  readonly text: string;
}

/** What a page knows of a run; it is in the page as JSON. */
export interface RunData {
  readonly name: string;
  readonly status: "running" | "done" | "stopped";
  /** Steps that are done, and of the whole run if that is known. */
  readonly step: number;
  readonly steps: number | null;
  readonly tokensPerStep: number | null;
  /** Seconds since 1970. */
  readonly started: number;
  readonly updated: number;
  /** Rows of the table of settings. */
  readonly settings: Readonly<Record<string, string | number | boolean | null>>;
  /** By name: the field of a step (`loss`), or of another event (`eval/loss`, `memory/process`). `elapsed` is the time of each step, in
   *  seconds since the run began. */
  readonly series: Readonly<Record<string, SeriesData>>;
  readonly samples: readonly RunSample[];
  readonly notes: readonly RunNote[];
  readonly checkpoint: string | null;
}

/** What a page shows of a run beside its events. */
export interface RunRecordOptions {
  readonly name: string;
  /** What the run was asked to do; nested settings get dotted names. */
  readonly settings?: Readonly<Record<string, Json>>;
  /** Points of a curve. Default 1024. */
  readonly points?: number;
}

/** What was gathered of a run so far. */
export interface RunRecord {
  /** @param time  of the event, in seconds since 1970 */
  event(event: ReportedEvent, time: number): void;
  /** Says how the run ended; done, if a `done` event came. */
  close(): void;
  data(): RunData;
}

const mostSeries = 40;
const mostSamples = 40;
const mostNotes = 200;
const longestText = 4000;

/** Gathers events. Unknown ones with a `step` become curves of their numbers, named `event/field`. */
export function runRecord({ name, settings = {}, points }: RunRecordOptions): RunRecord {
  const curves = new Map<string, Series>();
  const rows = new Map<string, string | number | boolean | null>(flattened(settings));
  let samples: RunSample[] = [];
  let notes: RunNote[] = [];
  let status: RunData["status"] = "running";
  let step = 0;
  let steps: number | null = null;
  let tokensPerStep: number | null = null;
  let checkpoint: string | null = null;
  let started = Number.NaN;
  let updated = Number.NaN;
  let elapsed = 0;

  const add = (key: string, at: number, value: number): void => {
    let curve = curves.get(key);
    if (curve === undefined) {
      if (curves.size >= mostSeries) return;
      curves.set(key, (curve = series(points)));
    }
    curve.add(at, value);
  };
  const numbers = (event: ReportedEvent, prefix: string): void => {
    const at = numberIn(event, "step");
    if (at === undefined) return;
    for (const field of Object.keys(event)) {
      const value = field === "step" || field === "time" ? undefined : numberIn(event, field);
      if (value !== undefined) add(prefix + field, at, value);
    }
  };
  const note = (event: ReportedEvent, text: string): void => {
    notes.push({ step: numberIn(event, "step") ?? null, kind: event.event, text: text.slice(0, longestText) });
    if (notes.length > mostNotes) notes = notes.slice(-mostNotes / 2);
  };
  return {
    event(event, time) {
      // Time in which nothing ran, before a run was resumed, does not count.
      if (event.event !== "start" && Number.isFinite(updated)) elapsed += Math.max(0, time - updated);
      if (!Number.isFinite(started)) started = time;
      updated = time;
      switch (event.event) {
        case "start": {
          status = "running";
          steps = numberIn(event, "steps") ?? steps;
          tokensPerStep = numberIn(event, "tokensPerStep") ?? tokensPerStep;
          const { event: _, from, ...facts } = event as ReportedEvent & Readonly<Record<string, Json>>;
          for (const [key, value] of flattened(facts)) if (key !== "time") rows.set(key, value);
          if (typeof from === "number" && from > 0) {
            step = from;
            // Once: the line of a history and the event itself are the same.
            const last = notes.at(-1);
            if (last?.kind !== "resumed" || last.step !== from)
              notes.push({ step: from, kind: "resumed", text: `after step ${from}` });
          }
          return;
        }
        case "step":
          step = numberIn(event, "step") ?? step + 1;
          numbers(event, "");
          add("elapsed", step, elapsed);
          return;
        case "checkpoint":
          checkpoint = textIn(event, "path") ?? checkpoint;
          return;
        case "sample": {
          const text = textIn(event, "text") ?? "";
          const prompt = textIn(event, "prompt") ?? "";
          samples.push({ step: numberIn(event, "step") ?? null, prompt, text: text.slice(0, longestText) });
          // The first and the newest tell most: of those between, every second goes.
          if (samples.length > mostSamples)
            samples = samples.filter((_, i) => i === 0 || i > mostSamples / 2 || i % 2 === 0);
          return;
        }
        case "done":
          status = "done";
          return;
        case "warning":
        case "skip": {
          // A run that goes back to a checkpoint takes the steps after it again.
          const back = numberIn(event, "to");
          if (back !== undefined) {
            step = back;
            for (const curve of curves.values()) curve.cut(back);
            samples = samples.filter((sample) => (sample.step ?? 0) <= back);
          }
          note(event, textIn(event, "message") ?? JSON.stringify(event));
          return;
        }
        default:
          numbers(event, `${event.event}/`);
      }
    },
    close() {
      if (status === "running") status = steps !== null && step >= steps ? "done" : "stopped";
    },
    data: () => ({
      name,
      status,
      step,
      steps,
      tokensPerStep,
      started: Number.isFinite(started) ? started : 0,
      updated: Number.isFinite(updated) ? updated : 0,
      settings: Object.fromEntries(rows),
      series: Object.fromEntries([...curves].map(([key, curve]) => [key, curve.data()])),
      samples,
      notes,
      checkpoint,
    }),
  };
}

/** `{ model: { dim: 64 } }` as `model.dim: 64`; lists as text. */
function* flattened(
  record: Readonly<Record<string, Json>>,
  prefix = "",
): Generator<[string, string | number | boolean | null]> {
  for (const [key, value] of Object.entries(record)) {
    if (value === undefined) continue;
    if (typeof value !== "object" || value === null) yield [prefix + key, value];
    else if (Array.isArray(value)) yield [prefix + key, JSON.stringify(value).slice(0, 200)];
    else yield* flattened(value, `${prefix}${key}.`);
  }
}
