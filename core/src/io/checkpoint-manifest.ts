/** `manifest.json`, the last file of a checkpoint to be written: it names every other file with its length and SHA-256, and
 *  carries its own hash, so a checkpoint with a valid manifest and matching files is whole, and nothing else is. */

import { ArgumentError, CheckpointError, FormatError } from "../errors.ts";
import { isCount, isObject, type Json, parseJson, quote } from "./json.ts";
import { sha256Hex } from "./sha256.ts";

export const manifestName = "manifest.json";

/** How a file of a checkpoint is given back. */
export type FileKind = "tensors" | "json" | "text" | "bytes";

export interface ManifestFile {
  readonly kind: FileKind;
  readonly bytes: number;
  /** 64 hexadecimal digits. */
  readonly sha256: string;
}

export interface Manifest {
  readonly step: number;
  /** 1 for the first checkpoint of a directory and one more for each later one: "newest" is the order of saving, also when
   *  a run goes back to an earlier step. */
  readonly sequence: number;
  readonly files: Readonly<Record<string, ManifestFile>>;
  /** Whatever the writer wants to find again: random state, data position, numeric plan. */
  readonly meta: Json;
}

const format = "sinan-checkpoint";
const version = 1;
const noHash = "0".repeat(64);
const kinds: ReadonlySet<string> = new Set<FileKind>(["tensors", "json", "text", "bytes"]);

/** A plain file name: no directory, not hidden, the same file on every system. */
export const isPlainName = (name: string): boolean => /^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/.test(name);

/** The manifest's text. `sha256`, its last field, is the hash of this text with zeros in its own place. */
export function writeManifest({ step, sequence, files, meta }: Manifest): string {
  const text = `${JSON.stringify({ format, version, step, sequence, files, meta, sha256: noHash }, null, 2)}\n`;
  return withHash(text, sha256Hex(new TextEncoder().encode(text)));
}

/** Reads and checks a manifest; `path` is for the error.
 *
 *  @throws FormatError if it is damaged or not a manifest
 *  @throws CheckpointError if it is of a version that this program does not know */
export function readManifest(bytes: Uint8Array, path: string): Manifest {
  const fail = (reason: string): never => {
    throw new FormatError(`${path}: ${reason}`, {
      hint: "The checkpoint is damaged: take another, or write it again.",
    });
  };
  let text = "";
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return fail("not UTF-8");
  }
  const manifest = parseJson(text, path);
  if (!isObject(manifest) || manifest.format !== format)
    return fail(`not a checkpoint's manifest (no format ${quote(format)})`);
  if (manifest.version !== version) {
    throw new CheckpointError(`${path}: format version ${shown(manifest.version)}, this program reads ${version}`, {
      hint: "It was written by another version of Sinan: use that one, or convert the checkpoint with it.",
    });
  }
  const { sha256: hash, step, sequence, meta } = manifest;
  if (typeof hash !== "string" || hash.length !== 64) return fail("sha256: expected 64 hexadecimal digits");
  const actual = sha256Hex(new TextEncoder().encode(withHash(text, noHash)));
  if (actual !== hash) return fail(`sha256: the file says ${quote(hash)}, its content has ${actual}`);

  if (!isCount(step)) return fail(`step: expected a whole number, found ${shown(step)}`);
  if (!isCount(sequence)) return fail(`sequence: expected a whole number, found ${shown(sequence)}`);
  if (!isObject(manifest.files)) return fail("files: expected an object");
  const files: Record<string, ManifestFile> = {};
  for (const [name, file] of Object.entries(manifest.files)) {
    if (!isPlainName(name) || name === manifestName) return fail(`files: ${quote(name)} is not a plain file name`);
    if (!isManifestFile(file)) return fail(`files: ${quote(name)}: expected kind, bytes and sha256`);
    files[name] = file;
  }
  return { step, sequence, files, meta: meta ?? null };
}

/** Refuses what JSON would write as something else (NaN, infinities, undefined), naming the place.
 *  @throws ArgumentError */
export function checkJson(value: unknown, place: string): void {
  if (value === null || typeof value === "boolean" || typeof value === "string") return;
  if (typeof value === "number" && Number.isFinite(value)) return;
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) checkJson(item, `${place}[${i}]`);
    return;
  }
  const prototype: unknown = typeof value === "object" ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== Object.prototype && prototype !== null) {
    throw new ArgumentError(`checkpoint: ${place} cannot be kept as JSON: ${String(value)}`, {
      hint: "Use finite numbers, strings, booleans, null, arrays and plain objects.",
    });
  }
  for (const [key, item] of Object.entries(value as object)) checkJson(item, `${place}.${key}`);
}

function isManifestFile(value: Json): value is Json & ManifestFile {
  if (!isObject(value)) return false;
  const { kind, bytes, sha256: hash } = value;
  return (
    typeof kind === "string" &&
    kinds.has(kind) &&
    isCount(bytes) &&
    typeof hash === "string" &&
    /^[0-9a-f]{64}$/.test(hash)
  );
}

/** A value as it may stand in a message. */
const shown = (value: Json | undefined): string => (JSON.stringify(value) ?? "nothing").slice(0, 80);

/** The text with its last 64-digit string replaced. */
function withHash(text: string, hash: string): string {
  const end = text.lastIndexOf('"');
  const start = text.lastIndexOf('"', end - 1);
  return `${text.slice(0, start + 1)}${hash}${text.slice(end)}`;
}
