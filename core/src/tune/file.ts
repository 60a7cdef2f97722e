/** The file of a tuning: for each kernel and machine what was chosen. A kernel is known by what it computes, a machine by what schedules
 *  read of it; a digest tells a damaged file from a whole one. */
import { type Tuning, tuned } from "../compiler/tuning.ts";
import { FormatError } from "../errors.ts";
import type { Files } from "../io/files.ts";
import { replaceFile } from "../io/files.ts";
import { type Json, parseJson } from "../io/json.ts";
import { sha256 } from "../io/sha256.ts";
import type { Fn } from "../ir/fn.ts";
import { print } from "../ir/print.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { type Choices, chooserOf } from "./choices.ts";

/** What was found for one kernel on one machine. */
export interface TuningEntry {
  /** The digest of what it computes. */
  readonly kernel: string;
  /** For people. */
  readonly name: string;
  /** The machine, as `hardwareKey` says it. */
  readonly hardware: string;
  /** Only what differs from the heuristic; nothing where that was the best. */
  readonly choices: Choices;
  /** Milliseconds of a launch by the heuristic, and by the choices. */
  readonly milliseconds: readonly [before: number, after: number];
  /** Whether results are those of the heuristic, bit for bit. */
  readonly sameBits: boolean;
}

/** A tuning with all that it says. */
export interface TuningFile extends Tuning {
  readonly entries: readonly TuningEntry[];
}

const format = "sinan-tuning";
/** Of the file; and of what choices mean: a schedule that understands a name otherwise than before counts it up. */
const version = 1;
const schedules = 1;

const digestOf = (text: string): string => sha256().update(new TextEncoder().encode(text)).hex();

const keys = new WeakMap<Fn, string>();

/** What a kernel computes as a digest: its name, and whose lines it is of, are no part of it. */
export function kernelKey(group: Fn): string {
  const known = keys.get(group);
  if (known) return known;
  const [, ...lines] = print(group).split("\n");
  const params = group.params.map((p) => JSON.stringify(p.type)).join(" ");
  const key = digestOf([params, ...lines.map((line) => line.replace(/ {2}\/\/ .*$/, ""))].join("\n"));
  keys.set(group, key);
  return key;
}

/** What schedules read of a machine, and what makes its code. */
export function hardwareKey({ id, codegens, compute, memory, limits, features }: HardwareModel): string {
  const units = compute.map(({ unit, dtype, lanes }) => `${unit} ${dtype}×${lanes}`);
  const caches = memory.filter(({ name }) => /^l\d$/.test(name)).map(({ name, bytes }) => `${name} ${bytes}`);
  return [id, codegens[0], ...units, `${limits.vectorRegisters} registers`, ...caches, ...features].join(", ");
}

const placeOf = (kernel: string, hardware: string): string => `${kernel} ${hardware}`;

/** @param entries  the last one of a kernel and machine counts */
export function tuningFile(entries: readonly TuningEntry[]): TuningFile {
  const byPlace = new Map(entries.map((e) => [placeOf(e.kernel, e.hardware), e]));
  const sorted = [...byPlace].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
  const tuning: TuningFile = {
    entries: sorted,
    hash: digestOf(JSON.stringify(sorted.map(({ kernel, hardware, choices }) => [kernel, hardware, choices]))),
    chooser(group, hardware) {
      const entry = byPlace.get(placeOf(kernelKey(group), hardwareKey(hardware)));
      return entry && chooserOf(entry.choices);
    },
    within(body) {
      const before = tuned.by;
      tuned.by = tuning;
      try {
        return body();
      } finally {
        tuned.by = before;
      }
    },
  };
  return tuning;
}

/** The text of the file: an entry a line. */
export function tuningText({ entries }: TuningFile): string {
  const lines = entries.map((entry) => JSON.stringify(entry));
  const head = `"format": "${format}",\n"version": ${version},\n"schedules": ${schedules},\n"digest": "${digestOf(lines.join("\n"))}"`;
  return `{${head},\n"entries": [\n${lines.join(",\n")}\n]}\n`;
}

/** Reads the text of a tuning file.
 *
 *  @param what  where it is from, for errors
 *  @throws FormatError for what is no such file, is of another version, or was damaged: nothing of it is used */
export function parseTuning(text: string, what: string): TuningFile {
  const refuse = (why: string, hint?: string): never => {
    throw new FormatError(`${what}: ${why}`, hint === undefined ? {} : { hint });
  };
  const again = "run sinan tune again";
  const root = recordOf(parseJson(text, what)) ?? refuse("expected an object");
  if (root["format"] !== format) refuse(`expected "format": "${format}", got ${JSON.stringify(root["format"])}`);
  for (const [name, own] of [
    ["version", version],
    ["schedules", schedules],
  ] as const)
    if (root[name] !== own) refuse(`it is of ${name} ${JSON.stringify(root[name])}, this Sinan reads ${own}`, again);
  const list = root["entries"];
  if (!Array.isArray(list)) return refuse("expected a list of entries");
  const entries = list.map(
    (value, i) => entryOf(value) ?? refuse(`entry ${i} is none: ${JSON.stringify(value)}`, again),
  );
  const digest = digestOf(entries.map((entry) => JSON.stringify(entry)).join("\n"));
  if (root["digest"] !== digest) refuse("its digest is not that of its entries: it was damaged or changed", again);
  const places = new Set(entries.map(({ kernel, hardware }) => placeOf(kernel, hardware)));
  if (places.size < entries.length) refuse("it has two entries of one kernel", again);
  return tuningFile(entries);
}

const recordOf = (value: Json | undefined): Readonly<Record<string, Json>> | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;

/** The entry with its fields in their order; undefined where one is missing, too much or of another kind. */
function entryOf(value: Json): TuningEntry | undefined {
  const { kernel, name, hardware, choices, milliseconds, sameBits, ...more } = recordOf(value) ?? {};
  const chosen = recordOf(choices);
  if (Object.keys(more).length > 0 || typeof kernel !== "string" || !/^[0-9a-f]{64}$/.test(kernel)) return undefined;
  if (typeof name !== "string" || typeof hardware !== "string" || typeof sameBits !== "boolean") return undefined;
  const isTime = (ms: Json | undefined): ms is number => typeof ms === "number" && ms >= 0;
  if (!Array.isArray(milliseconds) || milliseconds.length !== 2) return undefined;
  const [before, after] = milliseconds;
  if (!isTime(before) || !isTime(after) || !chosen) return undefined;
  const numbers = Object.entries(chosen).flatMap(([key, n]) =>
    typeof n === "number" && Number.isSafeInteger(n) && n >= 0 && n <= 4096 ? [[key, n] as const] : [],
  );
  if (numbers.length < Object.keys(chosen).length) return undefined;
  return { kernel, name, hardware, choices: Object.fromEntries(numbers), milliseconds: [before, after], sameBits };
}

/** Reads a tuning file, for `jit`'s option `tune`.
 *
 *  @throws FileError (as a rejection) where there is none; FormatError where it is not one, or damaged
 *  @example const step = jit(update, { tune: await readTuning(nodeFiles(), "sinan-tuning.json") }); */
export async function readTuning(files: Files, path: string): Promise<TuningFile> {
  return parseTuning(new TextDecoder().decode(await files.read(path)), path);
}

/** Writes a tuning file: the new one, whole, or the old one. @throws FileError (as a rejection) */
export const writeTuning = (files: Files, path: string, tuning: TuningFile): Promise<void> =>
  replaceFile(files, path, [new TextEncoder().encode(tuningText(tuning))]);
