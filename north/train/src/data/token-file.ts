/** A file of token ids that is read at any place. What it is made from and the hash of its bytes stand at its end, since they are
 *  known last:
 *
 *    0    "SNTOKENS"                 8 bytes
 *    8    version 1                  u32
 *    12   bytes of an id, 2 or 4     u32
 *    16   ids                        u16 or u32, then zeros up to a multiple of 4
 *         tokens of each document    u32
 *         what it is made from       JSON
 *         length of that JSON        u32
 *         SHA-256 of all before      64 hexadecimal digits
 *         "SNTOKEND"                 8 bytes
 *
 *  Numbers have their lowest byte first. A file that a crash cut short has no such end. */
import { FormatError, type Json, type OpenFile, parseJson, type Sha256 } from "sinan";
import { pieceBytes } from "./documents.ts";

const head = "SNTOKENS";
const foot = "SNTOKEND";
const version = 1;
const headBytes = 16;
const tailBytes = 4 + 64 + 8;
const unhashed = 64 + 8;

/** What a token file is made from. */
export interface TokenRecord {
  readonly sources: readonly SourceRecord[];
  /** SHA-256 of the tokenizer's JSON. */
  readonly tokenizer: string;
  /** What else decides the ids. */
  readonly options: Json;
  readonly tokens: number;
  readonly documents: number;
  readonly skippedLines: number;
  /** When building began, in milliseconds since 1970. */
  readonly made: number;
}

/** A file as it was when it was read. */
export interface SourceRecord {
  readonly name: string;
  readonly size: number;
  readonly modified: number | null;
  readonly sha256: string;
}

/** A token file that was opened and found to be whole. */
export interface TokenFile {
  readonly record: TokenRecord;
  /** SHA-256 of the file. */
  readonly hash: string;
  /** Tokens of each document. */
  readonly lengths: Uint32Array;
  /** `count` ids from the `first`-th on. */
  read(first: number, count: number): Promise<Uint16Array | Uint32Array>;
  close(): Promise<void>;
}

/** The bytes of a token file, from ids that come in time. */
export async function* tokenFileChunks(
  ids: AsyncIterable<ArrayLike<number> | "end of document">,
  { idBytes, digest }: { readonly idBytes: 2 | 4; readonly digest: Sha256 },
  record: () => Omit<TokenRecord, "tokens" | "documents">,
): AsyncGenerator<Uint8Array> {
  const hashed = (bytes: Uint8Array): Uint8Array => {
    digest.update(bytes);
    return bytes;
  };
  yield hashed(bytesOf(utf8(head), Uint32Array.of(version, idBytes)));
  const lengths = growing();
  let tokens = 0;
  let ofDocument = 0;
  for await (const some of ids) {
    if (some === "end of document") {
      lengths.push(ofDocument);
      ofDocument = 0;
      continue;
    }
    tokens += some.length;
    ofDocument += some.length;
    yield hashed(bytesOf(idBytes === 2 ? Uint16Array.from(some) : Uint32Array.from(some)));
  }
  yield hashed(new Uint8Array((4 - ((tokens * idBytes) % 4)) % 4));
  yield hashed(bytesOf(lengths.all()));
  const text = utf8(JSON.stringify({ ...record(), tokens, documents: lengths.all().length }));
  yield hashed(bytesOf(text, Uint32Array.of(text.length)));
  yield utf8(digest.hex() + foot);
}

/** Opens a token file.
 *
 *  @param digest  for its hash; none if it was found to be whole before, by `hash`
 *  @throws FormatError saying what is wrong with it */
export async function openTokenFile(
  file: OpenFile,
  path: string,
  check: { readonly digest: Sha256 } | { readonly hash: string },
): Promise<TokenFile> {
  const fail = (reason: string): never => {
    throw new FormatError(`${path}: ${reason}`, { hint: "Remove it: it is made again from the text." });
  };
  if (file.size < headBytes + tailBytes) fail("not a token file: it is too short");
  const first = await file.read(0, headBytes);
  const last = await file.read(file.size - tailBytes, tailBytes);
  const [fileVersion, idBytes] = words(first.subarray(8));
  if (text(first.subarray(0, 8)) !== head) fail("not a token file");
  if (fileVersion !== version) fail(`a token file of version ${fileVersion}, this program reads ${version}`);
  if (text(last.subarray(68)) !== foot) fail("the token file ends too early");
  const hash = text(last.subarray(4, 68));
  const [recordBytes = 0] = words(last.subarray(0, 4));
  const recordAt = file.size - tailBytes - recordBytes;
  if ((idBytes !== 2 && idBytes !== 4) || recordAt < headBytes) return fail("the token file is damaged");
  if ("hash" in check && check.hash !== hash) fail("another token file took this one's place");
  if ("digest" in check && (await hashOf(file, check.digest)) !== hash)
    fail("the token file is damaged: its hash differs");

  const record = parseJson(text(await file.read(recordAt, recordBytes)), path);
  if (!isTokenRecord(record)) return fail("the token file is damaged: what it is made from");
  const { tokens, documents } = record;
  const lengthsAt = headBytes + Math.ceil((tokens * idBytes) / 4) * 4;
  if (lengthsAt + 4 * documents !== recordAt) fail("the token file is damaged: its parts do not fill it");
  const lengths = words(await file.read(lengthsAt, 4 * documents));
  if (lengths.reduce((sum, length) => sum + length, 0) !== tokens) fail("the documents are not as long as the ids");
  return {
    record,
    hash,
    lengths,
    async read(from, count) {
      const bytes = await file.read(headBytes + from * idBytes, count * idBytes);
      return idBytes === 2 ? new Uint16Array(aligned(bytes)) : words(bytes);
    },
    close: () => file.close(),
  };
}

const isObject = (value: Json | undefined): value is Record<string, Json> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isCount = (value: Json | undefined): boolean => Number.isSafeInteger(value) && Number(value) >= 0;

function isTokenRecord(value: Json): value is Json & TokenRecord {
  if (!isObject(value) || !Array.isArray(value["sources"])) return false;
  const { tokenizer, tokens, documents, skippedLines, made, options } = value;
  const counts = [tokens, documents, skippedLines].every(isCount);
  return (
    counts &&
    typeof tokenizer === "string" &&
    typeof made === "number" &&
    options !== undefined &&
    value["sources"].every(isSource)
  );
}

function isSource(value: Json): boolean {
  if (!isObject(value)) return false;
  const { name, size, modified, sha256 } = value;
  const isTime = modified === null || typeof modified === "number";
  return typeof name === "string" && isCount(size) && isTime && typeof sha256 === "string";
}

async function hashOf(file: OpenFile, digest: Sha256): Promise<string> {
  const end = file.size - unhashed;
  for (let at = 0; at < end; at += pieceBytes) digest.update(await file.read(at, Math.min(pieceBytes, end - at)));
  return digest.hex();
}

const utf8 = (s: string): Uint8Array => new TextEncoder().encode(s);
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const aligned = (bytes: Uint8Array): ArrayBuffer => bytes.slice().buffer;
const words = (bytes: Uint8Array): Uint32Array => new Uint32Array(aligned(bytes));

function bytesOf(...parts: readonly (Uint8Array | Uint16Array | Uint32Array)[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const { buffer, byteOffset, byteLength } of parts) {
    all.set(new Uint8Array(buffer, byteOffset, byteLength), at);
    at += byteLength;
  }
  return all;
}

function growing(): { push(value: number): void; all(): Uint32Array } {
  let values = new Uint32Array(1024);
  let length = 0;
  return {
    push(value) {
      if (length === values.length) {
        const larger = new Uint32Array(2 * length);
        larger.set(values);
        values = larger;
      }
      values[length++] = value;
    },
    all: () => values.subarray(0, length),
  };
}
