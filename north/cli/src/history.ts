/** Runs as their directories tell of them: events, checkpoints, and the lock of a program that is still at it. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import process from "node:process";
import { FileError, type Files, joinPath, type Json, loadCheckpoint } from "sinan";
import { type ReportedEvent, type RunData, runRecord } from "@sinan/train";

export interface History {
  readonly path: string;
  readonly state: "running" | "done" | "stopped";
  readonly step: number;
  readonly steps: number | null;
  readonly loss: number | null;
  readonly evaluation: number | null;
  readonly bitsPerByte: number | null;
  readonly tokensPerSecond: number | null;
  /** Seconds since 1970 of the last event; null where there is none. */
  readonly updated: number | null;
  /** The steps of its checkpoints. */
  readonly checkpoints: readonly number[];
  readonly settings: RunData["settings"];
}

/** The runs in a directory, the latest first; the directory itself, where it is a run.
 *  @throws FileError if it is not there */
export async function historiesIn(files: Files, directory: string): Promise<History[]> {
  if (!(await files.exists(directory)))
    throw new FileError(`cannot read ${directory}: there is no such directory`, { path: directory, code: "ENOENT" });
  const own = await historyOf(files, directory);
  if (own) return [own];
  const found: History[] = [];
  for (const name of await files.list(directory)) {
    const path = joinPath(directory, name);
    if ((await files.stat(path)).kind !== "directory") continue;
    const run = await historyOf(files, path);
    if (run) found.push(run);
  }
  return found.sort((a, b) => (b.updated ?? 0) - (a.updated ?? 0));
}

/** What a directory tells of its run; null if there is none in it. */
export async function historyOf(files: Files, path: string): Promise<History | null> {
  const names = await files.list(path);
  const checkpoints = names
    .flatMap((name) => /^step-(\d{8,})$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
  const hasEvents = names.includes("events.jsonl");
  if (!hasEvents && checkpoints.length === 0) return null;
  const record = runRecord({ name: path });
  if (hasEvents) for (const [event, time] of eventsOf(joinPath(path, "events.jsonl"))) record.event(event, time);
  record.close();
  const { series, settings, ...run } = record.data();
  const last = (name: string): number | null => series[name]?.y.at(-1) ?? null;
  const saved = hasEvents ? null : await savedSteps(files, path);
  const step = Math.max(run.step, checkpoints.at(-1) ?? 0);
  const steps = run.steps ?? saved;
  return {
    path,
    state: isHeld(joinPath(path, ".lock")) ? "running" : steps !== null && step >= steps ? "done" : "stopped",
    step,
    steps,
    loss: last("loss"),
    evaluation: last("eval/loss"),
    bitsPerByte: last("eval/bitsPerByte"),
    tokensPerSecond: last("tokensPerSecond"),
    updated: run.updated > 0 ? run.updated : null,
    checkpoints,
    settings: hasEvents ? { ...settings, ...(await settingsOf(files, path)) } : await settingsOf(files, path),
  };
}

/** Lines that are whole; the last one of a killed program is not. */
function* eventsOf(file: string): Generator<[ReportedEvent, number]> {
  for (const line of readFileSync(file, "utf8").split("\n")) {
    let event: unknown;
    try {
      event = JSON.parse(line);
    } catch {
      continue;
    }
    if (typeof event !== "object" || event === null || !("event" in event) || typeof event.event !== "string") continue;
    const time = "time" in event && typeof event.time === "number" ? event.time : 0;
    yield [event as ReportedEvent, time];
  }
}

async function savedOptions(files: Files, path: string): Promise<Readonly<Record<string, Json>>> {
  const { documents } = await loadCheckpoint(files, path, { groups: [], onWarning: () => undefined });
  const trainer = documents["trainer"];
  const options = isRecord(trainer) ? trainer["options"] : undefined;
  return isRecord(options) ? options : {};
}

const isRecord = (value: Json | undefined): value is Readonly<Record<string, Json>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

async function savedSteps(files: Files, path: string): Promise<number | null> {
  const { steps } = await savedOptions(files, path).catch(() => ({ steps: null }));
  return typeof steps === "number" ? steps : null;
}

/** What the run was told, from its checkpoint: numbers, texts and truths. */
async function settingsOf(files: Files, path: string): Promise<RunData["settings"]> {
  const options = await savedOptions(files, path).catch(() => ({}));
  const plain = (value: Json): value is string | number | boolean =>
    ["string", "number", "boolean"].includes(typeof value);
  return Object.fromEntries(
    Object.entries(options).filter((entry): entry is [string, string | number | boolean] => plain(entry[1])),
  );
}

/** Whether the program that took a lock is alive. On another machine it is taken to be. */
function isHeld(lock: string): boolean {
  try {
    const { pid, host } = JSON.parse(readFileSync(lock, "utf8")) as { pid?: unknown; host?: unknown };
    if (host !== hostname() || typeof pid !== "number") return true;
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
