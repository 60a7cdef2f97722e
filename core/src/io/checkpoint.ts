/** Checkpoints that a crash cannot spoil. A checkpoint is a directory; it is written under a temporary name, every file
 *  fsynced, the manifest last, and appears by one rename. Only then are older ones removed. So at every moment the newest
 *  valid checkpoint is the one before or the new one, whole. */

import { ArgumentError, CheckpointError, FileError, FormatError, SinanError } from "../errors.ts";
import {
  checkJson,
  type FileKind,
  isPlainName,
  type Manifest,
  type ManifestFile,
  manifestName,
  readManifest,
  writeManifest,
} from "./checkpoint-manifest.ts";
import { baseName, type Files, joinPath } from "./files.ts";
import { type Json, parseJson } from "./json.ts";
import { readSafetensors, safetensorsChunks, type StoredTensor, type StoredTensors } from "./safetensors.ts";
import { sha256 } from "./sha256.ts";

/** What to save. Nothing in it may change until `save` resolves. */
export interface CheckpointContent {
  readonly step: number;
  /** One safetensors file a group: `{ model, optimizer }` become `model.safetensors` and `optimizer.safetensors`. */
  readonly tensors: Readonly<Record<string, StoredTensors>>;
  /** One JSON file each: `{ config }` becomes `config.json`. */
  readonly documents?: Readonly<Record<string, Json>>;
  /** Other files under their full name, kept as they are: `{ "tokenizer.json": text }`. */
  readonly blobs?: Readonly<Record<string, string | Uint8Array>>;
  /** Kept in the manifest. */
  readonly meta?: Json;
}

/** A checkpoint that was read; each part comes back as it was given. */
export interface Checkpoint {
  /** The directory's own name, `step-00000040`. */
  readonly name: string;
  readonly path: string;
  readonly step: number;
  readonly tensors: Readonly<Record<string, ReadonlyMap<string, StoredTensor>>>;
  readonly documents: Readonly<Record<string, Json>>;
  readonly blobs: Readonly<Record<string, string | Uint8Array>>;
  readonly meta: Json;
}

/** What is read of a checkpoint, and who is told of damage. */
export interface ReadOptions {
  /** Groups of tensors to read; all if absent. The other groups are neither read nor checked. */
  readonly groups?: readonly string[];
  /** Told about each checkpoint that was skipped because it is damaged. Default: `console.warn`. */
  readonly onWarning?: (message: string) => void;
}

/** How many checkpoints are kept, and who is told of what is not as it should be. */
export interface CheckpointOptions {
  /** How many to keep, at least 1. Default 2. */
  readonly keep?: number;
  /** As in `ReadOptions`; also told when an old checkpoint could not be removed. */
  readonly onWarning?: (message: string) => void;
}

/** The one writer of a directory of checkpoints. */
export interface Checkpoints {
  readonly directory: string;
  /** Writes a checkpoint and resolves to its path once it would survive a power loss. One that is there is never overwritten:
   *  the same step again gets a name of its own, `step-00000040.1`. Calls wait for each other.
   *  @throws FileError if storage fails; what was there before stays whole
   *  @throws ArgumentError for content that cannot be kept */
  save(content: CheckpointContent): Promise<string>;
  latest(options?: ReadOptions): Promise<Checkpoint | null>;
  /** By name, `step-00000040`, or by path. */
  load(nameOrPath: string, options?: ReadOptions): Promise<Checkpoint>;
  /** Gives the directory free for another writer. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const lockName = ".lock";
const temporary = ".tmp-";
const retired = ".old-";
const stepName = /^step-(\d{8,})(?:\.\d+)?$/;
const chunkBytes = 1 << 22;

/** Opens a directory of checkpoints for writing, creating it if needed, and removes what an interrupted save left.
 *
 *  @throws FileError with code EEXIST if another writer has it, or if it cannot be written
 *  @example
 *  const checkpoints = await openCheckpoints(files, "run");
 *  const before = await checkpoints.latest();
 *  await checkpoints.save({ step: 40, tensors: { model, optimizer }, documents: { config } }); */
export async function openCheckpoints(
  files: Files,
  directory: string,
  { keep = 2, onWarning = console.warn }: CheckpointOptions = {},
): Promise<Checkpoints> {
  if (!Number.isSafeInteger(keep) || keep < 1)
    throw new ArgumentError(`checkpoints: keep must be at least 1, got ${keep}`);
  await files.mkdir(directory);
  const lock = await files.lock(joinPath(directory, lockName));
  let sequence = 0;
  try {
    for (const name of await files.list(directory)) {
      if (name.startsWith(temporary) || name.startsWith(retired)) await files.remove(joinPath(directory, name));
    }
    for (const { manifest } of await readManifests(files, directory, () => undefined)) {
      sequence = Math.max(sequence, manifest.sequence);
    }
  } catch (error) {
    await lock.release().catch(() => undefined);
    throw error;
  }

  const save = async (content: CheckpointContent): Promise<string> => {
    const parts = partsOf(content);
    const name = freeName(content.step, new Set(await files.list(directory)));
    const path = joinPath(directory, name);
    const building = joinPath(directory, temporary + name);
    try {
      await files.remove(building);
      await files.mkdir(building);
      const written: Record<string, ManifestFile> = {};
      for (const part of parts) written[part.name] = await writePart(files, joinPath(building, part.name), part);
      const manifest = { step: content.step, sequence: sequence + 1, files: written, meta: content.meta ?? null };
      await files.write(joinPath(building, manifestName), [new TextEncoder().encode(writeManifest(manifest))]);
      await files.fsyncDirectory(building);
      await files.rename(building, path);
    } catch (error) {
      await files.remove(building).catch(() => undefined); // swept at the next open
      throw error;
    }
    sequence++;
    await files.fsyncDirectory(directory);
    await prune(files, directory, keep, onWarning);
    return path;
  };

  let last: Promise<unknown> = Promise.resolve();
  let open = true;
  const close = async (): Promise<void> => {
    if (!open) return;
    open = false;
    await last;
    await lock.release();
  };
  return {
    directory,
    save(content) {
      if (!open) return Promise.reject(new ArgumentError(`checkpoints: ${directory} was closed`));
      const saved = last.then(() => save(content));
      last = saved.catch(() => undefined);
      return saved;
    },
    latest: (options) => latestCheckpoint(files, directory, { onWarning, ...options }),
    load: (nameOrPath, options) =>
      readCheckpoint(files, nameOrPath.includes("/") ? nameOrPath : joinPath(directory, nameOrPath), options),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The newest whole checkpoint of a directory, or null if there is none. Needs no lock: a reader may look while another
 *  program trains.
 *
 *  @throws FormatError if there are checkpoints and none is whole, with the reason of each */
export async function latestCheckpoint(
  files: Files,
  directory: string,
  options: ReadOptions = {},
): Promise<Checkpoint | null> {
  const { onWarning = console.warn } = options;
  for (let attempt = 1; ; attempt++) {
    const reasons: string[] = [];
    const skip = (path: string, error: unknown): void => {
      if (!(error instanceof SinanError)) throw error;
      reasons.push(error.message);
      onWarning(`checkpoint ${path} is skipped: ${error.message}`);
    };
    const found = await readManifests(files, directory, skip);
    for (const { path, manifest } of found) {
      try {
        return await readFiles(files, path, manifest, options);
      } catch (error) {
        skip(path, error);
      }
    }
    if (reasons.length === 0) return null;
    // The writer may have replaced all that was listed while it was being read.
    const now = (await readManifests(files, directory, () => undefined)).map(({ path }) => path);
    if (attempt < 3 && now.some((path) => !found.some((old) => old.path === path))) continue;
    throw new FormatError(`${directory}: no checkpoint is whole:\n  ${reasons.join("\n  ")}`, {
      hint: "Restore one from a copy, or remove them to start anew.",
    });
  }
}

/** Reads a checkpoint from its own directory, or the newest whole one of a directory of checkpoints.
 *
 *  @throws CheckpointError if there is none, or one of an unknown format version
 *  @throws FormatError naming the damaged file */
export async function loadCheckpoint(files: Files, path: string, options: ReadOptions = {}): Promise<Checkpoint> {
  if (await files.exists(joinPath(path, manifestName))) return readCheckpoint(files, path, options);
  const latest = await latestCheckpoint(files, path, options);
  if (latest !== null) return latest;
  throw new CheckpointError(`${path}: no checkpoint there: expected ${manifestName} or directories step-NNNNNNNN`, {
    hint: "Give the directory that a training run wrote, or one of the checkpoints in it.",
  });
}

async function readCheckpoint(files: Files, path: string, options: ReadOptions = {}): Promise<Checkpoint> {
  return readFiles(files, path, await manifestAt(files, path), options);
}

async function manifestAt(files: Files, path: string): Promise<Manifest> {
  const file = joinPath(path, manifestName);
  return readManifest(await readPresent(files, file), file);
}

/** The checkpoints of a directory whose manifest is valid, newest first; `skip` hears about the others. */
async function readManifests(
  files: Files,
  directory: string,
  skip: (path: string, error: unknown) => void,
): Promise<{ path: string; manifest: Manifest }[]> {
  const found: { path: string; manifest: Manifest }[] = [];
  for (const name of await files.list(directory)) {
    if (!stepName.test(name)) continue;
    const path = joinPath(directory, name);
    try {
      found.push({ path, manifest: await manifestAt(files, path) });
    } catch (error) {
      if (!(error instanceof SinanError)) throw error;
      skip(path, error);
    }
  }
  return found.sort((a, b) => b.manifest.sequence - a.manifest.sequence);
}

async function readFiles(files: Files, path: string, manifest: Manifest, { groups }: ReadOptions): Promise<Checkpoint> {
  const tensors: Record<string, ReadonlyMap<string, StoredTensor>> = {};
  const documents: Record<string, Json> = {};
  const blobs: Record<string, string | Uint8Array> = {};
  for (const [name, expected] of Object.entries(manifest.files)) {
    const stem = name.slice(0, name.lastIndexOf("."));
    if (expected.kind === "tensors" && groups !== undefined && !groups.includes(stem)) continue;
    const file = joinPath(path, name);
    const bytes = await readPresent(files, file);
    checkBytes(files, file, bytes, expected);
    switch (expected.kind) {
      case "tensors":
        tensors[stem] = readSafetensors(bytes).tensors;
        break;
      case "json":
        documents[stem] = parseJson(new TextDecoder().decode(bytes), file);
        break;
      case "text":
        blobs[name] = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
        break;
      case "bytes":
        blobs[name] = bytes;
        break;
      default:
        expected.kind satisfies never;
    }
  }
  return { name: baseName(path), path, step: manifest.step, tensors, documents, blobs, meta: manifest.meta };
}

const damaged = { hint: "The checkpoint is damaged: take another, or write it again." };

function checkBytes(files: Files, file: string, bytes: Uint8Array, expected: ManifestFile): void {
  if (bytes.length !== expected.bytes) {
    throw new FormatError(`${file}: the manifest says ${expected.bytes} bytes, the file has ${bytes.length}`, damaged);
  }
  const hash = (files.sha256 ?? sha256)().update(bytes).hex();
  if (hash !== expected.sha256) {
    throw new FormatError(`${file}: SHA-256: the manifest says ${expected.sha256}, the file has ${hash}`, damaged);
  }
}

/** A file that the checkpoint must have: missing is damage, other failures are the storage's. */
async function readPresent(files: Files, file: string): Promise<Uint8Array> {
  try {
    return await files.read(file);
  } catch (cause) {
    if (!(cause instanceof FileError) || cause.code !== "ENOENT") throw cause;
    throw new FormatError(`${file}: the file is missing`, { ...damaged, cause });
  }
}

interface Part {
  readonly name: string;
  readonly kind: FileKind;
  readonly chunks: readonly Uint8Array[];
}

/** The files of a checkpoint. All that can be wrong with the content is found here, before storage is touched. */
function partsOf({ step, tensors, documents = {}, blobs = {}, meta = null }: CheckpointContent): Part[] {
  if (!Number.isSafeInteger(step) || step < 0)
    throw new ArgumentError(`checkpoint: step must be a whole number, got ${step}`);
  checkJson(meta, "meta");
  const parts: Part[] = [];
  const text = (content: string): Uint8Array[] => [new TextEncoder().encode(content)];
  for (const [group, content] of Object.entries(tensors)) {
    // transformers refuses a file that does not say which framework's layout its tensors have.
    parts.push({
      name: `${group}.safetensors`,
      kind: "tensors",
      chunks: safetensorsChunks(content, { format: "pt" }).chunks,
    });
  }
  for (const [stem, content] of Object.entries(documents)) {
    checkJson(content, stem);
    parts.push({ name: `${stem}.json`, kind: "json", chunks: text(`${JSON.stringify(content, null, 2)}\n`) });
  }
  for (const [name, content] of Object.entries(blobs)) {
    if (typeof content !== "string") parts.push({ name, kind: "bytes", chunks: [content] });
    else if (content.isWellFormed()) parts.push({ name, kind: "text", chunks: text(content) });
    else throw new ArgumentError(`checkpoint: ${name}: text with half a surrogate pair cannot be kept`);
  }
  const names = new Set<string>([manifestName]);
  for (const { name } of parts) {
    // Some systems hold names that differ only by case to be one file.
    if (!isPlainName(name) || names.has(name.toLowerCase())) {
      throw new ArgumentError(`checkpoint: ${JSON.stringify(name)} cannot be the name of a file of its own`, {
        hint: "Use letters, digits, '.', '_' and '-', each name once.",
      });
    }
    names.add(name.toLowerCase());
  }
  return parts;
}

/** Writes a file piece by piece, hashing what is written on the way. */
async function writePart(files: Files, path: string, { kind, chunks }: Part): Promise<ManifestFile> {
  const digest = (files.sha256 ?? sha256)();
  let bytes = 0;
  function* pieces(): Generator<Uint8Array> {
    for (const chunk of chunks) {
      for (let at = 0; at < chunk.length; at += chunkBytes) {
        const piece = chunk.subarray(at, at + chunkBytes);
        digest.update(piece);
        bytes += piece.length;
        yield piece;
      }
    }
  }
  await files.write(path, pieces());
  return { kind, bytes, sha256: digest.hex() };
}

function freeName(step: number, taken: ReadonlySet<string>): string {
  const name = `step-${String(step).padStart(8, "0")}`;
  if (!taken.has(name)) return name;
  for (let again = 1; ; again++) if (!taken.has(`${name}.${again}`)) return `${name}.${again}`;
}

/** Removes the checkpoints beyond the newest `keep`. One is renamed before it is emptied, so that none is ever seen in part.
 *  Those that cannot be read are left for a person to look at. */
async function prune(
  files: Files,
  directory: string,
  keep: number,
  onWarning: (message: string) => void,
): Promise<void> {
  try {
    const old = (await readManifests(files, directory, () => undefined)).slice(keep);
    if (old.length === 0) return;
    const gone: string[] = [];
    for (const { path } of old) {
      const aside = joinPath(directory, retired + baseName(path));
      await files.remove(aside);
      await files.rename(path, aside);
      gone.push(aside);
    }
    await files.fsyncDirectory(directory);
    for (const path of gone) await files.remove(path);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    onWarning(`an old checkpoint could not be removed: ${error.message}`);
  }
}
