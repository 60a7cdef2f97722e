/** Texts as a file of ids, made once and found again: under a name that follows from the sources' paths and the options, and used
 *  only if its own hash, the tokenizer's and the sources' are what they should be. */
import {
  ArgumentError,
  type Files,
  FormatError,
  joinPath,
  type Json,
  replaceFile,
  type Sha256,
  sha256,
  sha256Hex,
} from "sinan";
import { type DocumentOptions, documentsOf, piecesOf } from "./documents.ts";
import { type Encoder, partEncoder } from "./encode-parts.ts";
import type { TextFile } from "./text-file.ts";
import { openTokenFile, type SourceRecord, type TokenFile, tokenFileChunks, type TokenRecord } from "./token-file.ts";

/** How texts become a file of tokens. */
export interface TokenCacheOptions extends DocumentOptions {
  readonly tokenizer: Encoder;
  /** The directory for token files. It should be writable by nobody else. */
  readonly cache: string;
  /** The id at the end of each document. Default: none. */
  readonly endOfDocument?: number | null;
  /** How hashes are made. Default: `sha256` of the core; `@sinan/train/node` has a faster one. */
  readonly digest?: () => Sha256;
  /** Told now and then while ids are made: bytes of the sources that were read, and all of them. */
  readonly onProgress?: (done: number, all: number) => void;
  /** Told why a token file that was there is made anew. */
  readonly onWarning?: (message: string) => void;
}

/** The ids of texts. */
export interface Tokens extends TokenFile {
  readonly path: string;
  /** SHA-256 over the sources' hashes, the tokenizer's and the options: of what the ids follow from. */
  readonly fingerprint: string;
  /** Whether the ids were made now. */
  readonly built: boolean;
}

/** A change within this time of another may leave a file's time as it was. */
const clockMs = 2000;

/** Opens the token file of some texts, and makes it if there is none or it is not theirs: it is hashed, and where a source's time or
 *  size is another than when it was read, so is the source. What is held meanwhile is some megabytes and 4 bytes a document,
 *  however large the texts are. The file appears whole or not at all.
 *
 *  @param sources  in their order
 *  @throws FormatError naming file and line of a bad line or of bytes that are not UTF-8; FileError; ArgumentError
 *  @example const tokens = await openTokens(nodeFiles(), [await textFile(nodeFiles(), "a.jsonl")], { tokenizer, cache: "cache" }); */
export async function openTokens(
  files: Files,
  sources: readonly TextFile[],
  { tokenizer, cache, digest = sha256, onProgress, onWarning = console.warn, ...given }: TokenCacheOptions,
): Promise<Tokens> {
  if (sources.length === 0) throw new ArgumentError("openTokens: expected at least one text, got none");
  const { field = "text", onBadLine = "throw", endOfDocument = null } = given;
  if (
    endOfDocument !== null &&
    !(Number.isInteger(endOfDocument) && endOfDocument >= 0 && endOfDocument < tokenizer.vocabSize)
  )
    throw new ArgumentError(
      `openTokens: endOfDocument: expected an id below ${tokenizer.vocabSize}, got ${endOfDocument}`,
    );
  const options: Json = { field, onBadLine, endOfDocument };
  const vocabulary = hashText(JSON.stringify(tokenizer));
  const path = joinPath(
    cache,
    `${hashText(JSON.stringify([sources.map(({ name }) => name), options])).slice(0, 24)}.tokens`,
  );
  const opened = (file: TokenFile, built: boolean): Tokens => {
    const { record } = file;
    const hashes = record.sources.map((source) => source.sha256);
    return { ...file, path, built, fingerprint: hashText(JSON.stringify([hashes, vocabulary, options])) };
  };

  const open = async (): Promise<TokenFile> => {
    const file = await files.open(path);
    try {
      return await openTokenFile(file, path, { digest: digest() });
    } catch (error) {
      await file.close();
      throw error;
    }
  };
  if (await files.exists(path)) {
    let why: string;
    try {
      const file = await open();
      const changed = await difference(file.record, { sources, vocabulary, options }, digest);
      if (changed === undefined) return opened(file, false);
      why = changed;
      await file.close();
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      why = error.message;
    }
    onWarning(`the ids of ${sources[0]?.name} are made anew: ${why}`);
  }
  await files.mkdir(cache);
  await build();
  return opened(await open(), true);

  async function build(): Promise<void> {
    const made = Date.now();
    const records: SourceRecord[] = [];
    const all = sources.reduce((sum, { size }) => sum + size, 0);
    let done = 0;
    let skippedLines = 0;
    async function* ids(): AsyncGenerator<ArrayLike<number> | "end of document"> {
      const encoder = partEncoder(tokenizer);
      for (const source of sources) {
        const hash = digest();
        const told = {
          piece(bytes: Uint8Array): void {
            hash.update(bytes);
            done += bytes.length;
            onProgress?.(done, all);
          },
          skipped: () => void skippedLines++,
        };
        for await (const { text, last } of documentsOf(source, { field, onBadLine }, told)) {
          yield* encoder.push(text);
          if (!last) continue;
          yield* encoder.end();
          if (endOfDocument !== null) yield [endOfDocument];
          yield "end of document";
        }
        const { name, size, modified } = source;
        records.push({ name, size, modified, sha256: hash.hex() });
      }
    }
    const idBytes = tokenizer.vocabSize <= 2 ** 16 ? 2 : 4;
    const chunks = tokenFileChunks(ids(), { idBytes, digest: digest() }, () => ({
      sources: records,
      tokenizer: vocabulary,
      options,
      skippedLines,
      made,
    }));
    await replaceFile(files, path, gathered(chunks));
  }
}

/** Why ids cannot be those of the sources, the tokenizer and the options; undefined if they are. */
async function difference(
  record: TokenRecord,
  now: { readonly sources: readonly TextFile[]; readonly vocabulary: string; readonly options: Json },
  digest: () => Sha256,
): Promise<string | undefined> {
  if (record.tokenizer !== now.vocabulary) return "they are of another tokenizer";
  if (JSON.stringify(record.options) !== JSON.stringify(now.options)) return "they were made with other options";
  if (record.sources.length !== now.sources.length) return "they are of other files";
  for (const [i, source] of now.sources.entries()) {
    const { name, size, modified, sha256: hash } = record.sources[i] as SourceRecord;
    if (name !== source.name) return `they are of ${name}`;
    if (size !== source.size) return `${name} changed: it had ${size} bytes, now ${source.size}`;
    if (modified !== null && modified === source.modified && modified + clockMs < record.made) continue;
    if ((await hashOfFile(source, digest())) !== hash) return `${name} changed`;
  }
  return undefined;
}

async function hashOfFile(file: TextFile, hash: Sha256): Promise<string> {
  for await (const piece of piecesOf(file)) hash.update(piece);
  return hash.hex();
}

const hashText = (text: string): string => sha256Hex(new TextEncoder().encode(text));

/** Small chunks together, so that a file of short lines is not written line by line. */
async function* gathered(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(1 << 18);
  let used = 0;
  for await (const chunk of chunks) {
    if (used + chunk.length > buffer.length) {
      yield buffer.subarray(0, used);
      used = 0;
    }
    if (chunk.length > buffer.length) yield chunk;
    else {
      buffer.set(chunk, used);
      used += chunk.length;
    }
  }
  yield buffer.subarray(0, used);
}
