/** The safetensors format of Hugging Face, read and written: eight bytes of length, a JSON header, the tensors' bytes. A
 *  file is not trusted: every offset is checked against the bytes that are there before anything is allocated or viewed.
 *  Source: github.com/huggingface/safetensors, README "Format"; files written here equal its own byte for byte. */

import { ArgumentError, DTypeError, FormatError } from "../errors.ts";
import { isCount, isObject, type Json, parseJson, quote } from "./json.ts";

/** What the format calls our dtypes and the bytes of one element, in the order of `Dtype` in the reference
 *  implementation: files list the tensors from the last to the first, so that wide elements come first and stay aligned. */
const formats = {
  bool: { tag: "BOOL", bytes: 1 },
  u8: { tag: "U8", bytes: 1 },
  i8: { tag: "I8", bytes: 1 },
  f8e5m2: { tag: "F8_E5M2", bytes: 1 },
  f8e4m3: { tag: "F8_E4M3", bytes: 1 },
  i16: { tag: "I16", bytes: 2 },
  u16: { tag: "U16", bytes: 2 },
  f16: { tag: "F16", bytes: 2 },
  bf16: { tag: "BF16", bytes: 2 },
  i32: { tag: "I32", bytes: 4 },
  u32: { tag: "U32", bytes: 4 },
  f32: { tag: "F32", bytes: 4 },
  f64: { tag: "F64", bytes: 8 },
  i64: { tag: "I64", bytes: 8 },
  u64: { tag: "U64", bytes: 8 },
} as const satisfies Record<string, { tag: string; bytes: 1 | 2 | 4 | 8 }>;

/** The dtypes that a safetensors file may hold. Arithmetic is defined on fewer of them. */
export type StoredDType = keyof typeof formats;

const order = Object.keys(formats) as StoredDType[];
const byTag = new Map<string, StoredDType>(order.map((dtype) => [formats[dtype].tag, dtype]));

/** A tensor as a file holds it: row-major, little-endian. */
export interface StoredTensor {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** Where a tensor lies: `offset` and `length` in bytes, from the first byte of the file. */
export interface StoredTensorInfo {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly length: number;
}

/** Tensors by name, as a file holds them. */
export type StoredTensors = ReadonlyMap<string, StoredTensor> | Readonly<Record<string, StoredTensor>>;
/** The header's free text by name. */
export type Metadata = Readonly<Record<string, string>>;

/** A file that was read. */
export interface Safetensors {
  /** In the order of the header. */
  readonly tensors: Map<string, StoredTensor>;
  readonly metadata: Metadata;
}

/** The reference implementation's limit, and so every reader's. */
const maxHeaderBytes = 100_000_000;
const prefixBytes = 8;
const metadataKey = "__metadata__";

/** Bytes of one element. */
export const storedBytes = (dtype: StoredDType): number => formats[dtype].bytes;

/** Reads a whole file. The tensors are views of `bytes`, so nothing is copied and `bytes` must not change while they live.
 *
 *  A view starts at a multiple of its element's size if the writer padded the header (this one and the reference do) and
 *  `bytes` is aligned; `alignedData` copies where it is not so.
 *
 *  @throws FormatError naming the tensor and the field, for anything that is not a well-formed file */
export function readSafetensors(bytes: Uint8Array): Safetensors {
  const headerBytes = headerLength(bytes, bytes.length);
  const dataStart = prefixBytes + headerBytes;
  const { tensors, metadata } = parseHeader(bytes.subarray(prefixBytes, dataStart), dataStart, bytes.length);
  const views = new Map<string, StoredTensor>();
  for (const [name, { dtype, shape, offset, length }] of tensors) {
    views.set(name, { dtype, shape, data: bytes.subarray(offset, offset + length) });
  }
  return { tensors: views, metadata };
}

/** A file that can be read in parts. */
export interface RandomAccess {
  /** In bytes. */
  readonly size: number;
  /** Resolves to exactly `length` bytes from `offset`. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** A file whose header was read; its tensors are read when they are asked for. */
export interface LazySafetensors {
  readonly tensors: ReadonlyMap<string, StoredTensorInfo>;
  readonly metadata: Metadata;
  /** Reads one tensor into bytes of its own.
   *  @throws ArgumentError if there is no such tensor */
  tensor(name: string): Promise<StoredTensor>;
}

/** Reads only the header; tensors are then read one at a time, so a file may be larger than memory.
 *  @throws FormatError as `readSafetensors` does */
export async function openSafetensors(file: RandomAccess): Promise<LazySafetensors> {
  const prefix = await readExactly(file, 0, Math.min(prefixBytes, file.size));
  const headerBytes = headerLength(prefix, file.size);
  const dataStart = prefixBytes + headerBytes;
  const { tensors, metadata } = parseHeader(await readExactly(file, prefixBytes, headerBytes), dataStart, file.size);
  return {
    tensors,
    metadata,
    async tensor(name) {
      const info = tensors.get(name);
      if (info === undefined) {
        throw new ArgumentError(`safetensors: there is no tensor ${quote(name)}`, {
          hint: `There are ${some(tensors)}.`,
        });
      }
      return { dtype: info.dtype, shape: info.shape, data: await readExactly(file, info.offset, info.length) };
    },
  };
}

/** Writes a whole file into one array. Tensors are laid out as the reference does it: by dtype from the widest, then by name.
 *
 *  @throws ArgumentError for data whose length is not that of its shape, or a name that the format cannot hold
 *  @throws DTypeError for a dtype that the format does not have */
export function writeSafetensors(tensors: StoredTensors, metadata: Metadata = {}): Uint8Array<ArrayBuffer> {
  const { byteLength, chunks } = safetensorsChunks(tensors, metadata);
  const bytes = new Uint8Array(byteLength);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** The same bytes as pieces, for writing a large file without a second copy: the header, then each tensor's own `data`. */
export function safetensorsChunks(
  tensors: StoredTensors,
  metadata: Metadata = {},
): { byteLength: number; chunks: Uint8Array[] } {
  const entries: [string, StoredTensor][] = isMap(tensors) ? [...tensors] : Object.entries(tensors);
  for (const [name, tensor] of entries) checkTensor(name, tensor);
  entries.sort(([a, x], [b, y]) => order.indexOf(y.dtype) - order.indexOf(x.dtype) || compareCodePoints(a, b));

  const fields: string[] = [];
  // Sorted, because the reference writes them in the order of a hash table, which differs from run to run.
  const notes = Object.entries(metadata).sort(([a], [b]) => compareCodePoints(a, b));
  for (const [key, value] of notes) {
    if (typeof value !== "string" || !key.isWellFormed() || !value.isWellFormed()) {
      throw new ArgumentError(`safetensors: metadata ${quote(key)} must be a string of whole Unicode characters`);
    }
  }
  if (notes.length > 0) {
    fields.push(`"${metadataKey}":{${notes.map(([key, value]) => `${json(key)}:${json(value)}`).join(",")}}`);
  }
  let end = 0;
  for (const [name, { dtype, shape, data }] of entries) {
    const start = end;
    end += data.length;
    const about = `"dtype":"${formats[dtype].tag}","shape":[${shape.join(",")}],"data_offsets":[${start},${end}]`;
    fields.push(`${json(name)}:{${about}}`);
  }
  const text = new TextEncoder().encode(`{${fields.join(",")}}`);
  const headerBytes = Math.ceil(text.length / 8) * 8;
  if (headerBytes > maxHeaderBytes) {
    throw new ArgumentError(
      `safetensors: the header would take ${headerBytes} bytes, the format allows ${maxHeaderBytes}`,
      {
        hint: "Split the tensors over several files, or shorten the metadata.",
      },
    );
  }
  const header = new Uint8Array(prefixBytes + headerBytes).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(headerBytes), true);
  header.set(text, prefixBytes);
  const chunks = [header, ...entries.map(([, { data }]) => data).filter((data) => data.length > 0)];
  return { byteLength: header.length + end, chunks };
}

/** The tensor's bytes at an address that is a multiple of its element's size: `data` itself, or a copy where it is not. */
export function alignedData({ dtype, data }: StoredTensor): Uint8Array {
  return data.byteOffset % formats[dtype].bytes === 0 ? data : data.slice();
}

// `instanceof` does not narrow to ReadonlyMap.
const isMap = (tensors: StoredTensors): tensors is ReadonlyMap<string, StoredTensor> => tensors instanceof Map;

function headerLength(prefix: Uint8Array, fileBytes: number): number {
  if (fileBytes < prefixBytes) {
    throw new FormatError(`safetensors: expected at least ${prefixBytes} bytes, found ${fileBytes}`, {
      hint: truncated,
    });
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, prefixBytes).getBigUint64(0, true);
  if (length > maxHeaderBytes) {
    throw new FormatError(
      `safetensors: header length: the format allows ${maxHeaderBytes} bytes, the file says ${length}`,
      {
        hint: "This is probably not a safetensors file.",
      },
    );
  }
  if (Number(length) > fileBytes - prefixBytes) {
    throw new FormatError(
      `safetensors: header length: the file says ${length} bytes, ${fileBytes - prefixBytes} follow`,
      { hint: truncated },
    );
  }
  return Number(length);
}

const truncated = "The file is truncated: fetch or write it again.";

function parseHeader(
  bytes: Uint8Array,
  dataStart: number,
  fileBytes: number,
): { tensors: Map<string, StoredTensorInfo>; metadata: Metadata } {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError("safetensors: the header is not UTF-8", { cause });
  }
  if (!text.startsWith("{")) {
    throw new FormatError(`safetensors: the header must begin with "{", found ${quote(text.slice(0, 8))}`);
  }
  const header = parseJson(text, "safetensors header");
  if (!isObject(header)) throw new FormatError("safetensors: the header is not an object");

  const tensors = new Map<string, StoredTensorInfo>();
  let metadata: Metadata = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === metadataKey) metadata = parseMetadata(value);
    else tensors.set(name, parseTensor(name, value, dataStart));
  }
  checkCoverage(tensors, dataStart, fileBytes);
  return { tensors, metadata };
}

function parseMetadata(value: Json): Metadata {
  if (value === null) return {}; // the reference takes it as absent
  if (!isObject(value)) throw new FormatError(`safetensors: ${metadataKey} must be an object of strings`);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") {
      throw new FormatError(`safetensors: ${metadataKey}: ${quote(key)} must be a string, found ${shown(text)}`);
    }
  }
  return value as Record<string, string>;
}

function parseTensor(name: string, value: Json, dataStart: number): StoredTensorInfo {
  const fail = (field: string, expected: string, found: Json | undefined): never => {
    const got = found === undefined ? "nothing" : shown(found);
    throw new FormatError(`safetensors: tensor ${quote(name)}: ${field}: expected ${expected}, found ${got}`);
  };
  if (!name.isWellFormed()) return fail("name", "whole Unicode characters", name);
  if (!isObject(value)) return fail("entry", "an object with dtype, shape and data_offsets", value);

  const dtype = typeof value.dtype === "string" ? byTag.get(value.dtype) : undefined;
  if (dtype === undefined) return fail("dtype", `one of ${[...byTag.keys()].join(" ")}`, value.dtype);

  const shape = sizes(value.shape);
  if (shape === undefined) return fail("shape", "an array of whole numbers from 0 to 2^53 - 1", value.shape);
  const length = shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, formats[dtype].bytes);
  if (!Number.isSafeInteger(length)) return fail("shape", "fewer than 2^53 bytes", value.shape);

  const [start, end, ...rest] = sizes(value.data_offsets) ?? [];
  if (start === undefined || end === undefined || rest.length > 0) {
    return fail("data_offsets", "[start, end] in whole bytes", value.data_offsets);
  }
  if (end - start !== length) {
    const about = `${dtype}[${shape.join(", ")}], which takes ${length} bytes`;
    return fail("data_offsets", `the size of ${about}`, value.data_offsets);
  }
  return { dtype, shape, offset: dataStart + start, length };
}

/** Every byte of the data belongs to one tensor and there are as many as the offsets say. */
function checkCoverage(tensors: ReadonlyMap<string, StoredTensorInfo>, dataStart: number, fileBytes: number): void {
  let end = dataStart;
  const inOrder = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.length - b.length);
  for (const [name, { offset, length }] of inOrder) {
    if (offset !== end) {
      const what = offset < end ? "overlaps the tensor before it" : "leaves a hole before it";
      const bounds = `starts at byte ${offset - dataStart} of the data, expected ${end - dataStart}`;
      throw new FormatError(`safetensors: tensor ${quote(name)}: data_offsets: ${what}: ${bounds}`);
    }
    end = offset + length;
    if (end > fileBytes) {
      throw new FormatError(
        `safetensors: tensor ${quote(name)}: data_offsets: ends at byte ${end - dataStart} of the data, ` +
          `the file has ${fileBytes - dataStart}`,
        { hint: truncated },
      );
    }
  }
  if (end !== fileBytes) {
    throw new FormatError(
      `safetensors: the tensors end at byte ${end - dataStart} of the data, the file has ${fileBytes - dataStart}`,
      { hint: "Bytes that belong to no tensor are not allowed." },
    );
  }
}

function checkTensor(name: string, { dtype, shape, data }: StoredTensor): void {
  const what = `safetensors: tensor ${quote(name)}`;
  if (name === metadataKey || !name.isWellFormed()) {
    throw new ArgumentError(`${what}: the format cannot hold this name`, { hint: "Rename the tensor." });
  }
  if (!Object.hasOwn(formats, dtype)) {
    throw new DTypeError(`${what}: safetensors has no dtype ${dtype}`, {
      hint: `Cast it to one of ${order.join(" ")}.`,
    });
  }
  const length = shape.reduce((product, size) => product * size, formats[dtype].bytes);
  if (sizes([...shape]) === undefined || !Number.isSafeInteger(length) || length !== data.length) {
    throw new ArgumentError(
      `${what}: ${dtype}[${shape.join(", ")}] takes ${length} bytes, the data has ${data.length}`,
    );
  }
}

/** The value as an array of sizes, or undefined if it is not one. */
function sizes(value: Json | undefined): number[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const whole = value.filter((size): size is number => isCount(size));
  return whole.length === value.length ? whole : undefined;
}

async function readExactly(file: RandomAccess, offset: number, length: number): Promise<Uint8Array> {
  const bytes = await file.read(offset, length);
  if (bytes.length !== length) {
    throw new FormatError(`safetensors: expected ${length} bytes at ${offset}, read ${bytes.length}`, {
      hint: truncated,
    });
  }
  return bytes;
}

/** UTF-8's order, which is Rust's; JavaScript's own puts U+E000..U+FFFF after the surrogates. */
function compareCodePoints(a: string, b: string): number {
  const n = Math.min(a.length, b.length);
  let i = 0;
  while (i < n && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  if (i === n) return a.length - b.length;
  const rank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);
  return rank(a.charCodeAt(i)) - rank(b.charCodeAt(i));
}

const json = (text: string): string => JSON.stringify(text);
const shown = (value: Json): string => {
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
};
const some = (tensors: ReadonlyMap<string, unknown>): string => {
  const names = [...tensors.keys()];
  return names.length > 6 ? `${names.slice(0, 6).join(", ")} and ${names.length - 6} more` : names.join(", ") || "none";
};
