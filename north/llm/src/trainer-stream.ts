/** A text that is not held in memory, as a language model meets it: a file of token ids, batches that a thread reads from it, and the
 *  end of the ids, which is held out. */
import { ArgumentError, type data, type Files } from "sinan";
import {
  type DocumentOptions,
  documentsOf,
  isGzip,
  isJsonLines,
  openTokens,
  readAhead,
  type Source,
  type SourceOptions,
  type TextFile,
  textFile,
  tokenSource,
  type Tokens,
} from "@sinan/train";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import { trainBpe } from "./tokenizer/train.ts";
import type { Corpus } from "./trainer-corpus.ts";
import type { TextFiles, TextSource } from "./trainer-options.ts";

/** Where a Trainer's files are. */
export interface Storage {
  readonly files: () => Promise<Files>;
  /** Whether they are those of Node, which has patterns, threads and a directory for caches. */
  readonly isNode: boolean;
}

/** A packed one says which document each token is of. */
export type AnyBatch = data.Batch | data.PackedBatch;

export interface Stream {
  /** How many ids there are to learn from. */
  readonly tokens: number;
  /** Batches of them, read ahead. */
  source(order: data.BatchOptions & { readonly seed: number }): Source<AnyBatch>;
  close(): Promise<void>;
}

/** Texts that are larger are not held in memory. */
const largestInMemory = 1 << 24;
/** A tokenizer is trained on so many bytes. */
const sampleBytes = 1 << 23;
/** At most so many ids are measured on, and as baselines learned from. */
const mostHeldOut = 100_000;
const mostForBaselines = 1_000_000;

/** Files and how they are read. */
export interface Texts extends Pick<TextFiles, "field" | "onBadLine" | "cache" | "pack"> {
  readonly texts: readonly TextFile[];
}

/** The files of what is to be streamed; null for a text that is held in memory.
 *  @throws FileError; ArgumentError if a path stands for no file */
export async function streamedTexts(source: TextSource, { files, isNode }: Storage): Promise<Texts | null> {
  if (typeof source !== "string") {
    if ("text" in source) return null;
    const paths = typeof source.files === "string" ? [source.files] : source.files;
    const found: TextFile[] = [];
    for (const path of paths)
      if (typeof path === "string") found.push(...(await textsAt(path, { files, isNode })));
      else found.push(path);
    return { ...source, texts: found };
  }
  const texts = await textsAt(source, { files, isNode });
  const [only] = texts;
  const small = texts.length === 1 && only && only.name === source && only.size <= largestInMemory;
  return small && !isJsonLines(source) && !isGzip(source) ? null : { texts };
}

const textsAt = async (path: string, { files, isNode }: Storage): Promise<TextFile[]> =>
  isNode && !(await isFile(await files(), path))
    ? (await import("@sinan/train/node")).findTexts([path])
    : [await textFile(await files(), path)];

const isFile = async (files: Files, path: string): Promise<boolean> =>
  (await files.exists(path)) && (await files.stat(path)).kind === "file";

interface StreamSettings {
  readonly heldOut: number;
  readonly vocabSize: number;
  readonly seqLen: number;
  readonly tokenizer: Tokenizer | undefined;
  readonly onWarning: (message: string) => void;
}

/** Makes the ids of texts, or finds those that were made before. The tokenizer, unless there is one, is trained on the beginnings of
 *  the files.
 *
 *  @throws FormatError naming file and line; FileError; ArgumentError for texts that are too short */
export async function streamOf(
  { texts, field, onBadLine, cache, pack = false }: Texts,
  { heldOut, vocabSize, seqLen, tokenizer: given, onWarning }: StreamSettings,
  { files, isNode }: Storage,
): Promise<{ corpus: Corpus; hash: string; stream: Stream }> {
  const node = isNode ? await import("@sinan/train/node") : null;
  const documents = { ...(field === undefined ? {} : { field }), ...(onBadLine === undefined ? {} : { onBadLine }) };
  const tokenizer =
    given ?? (await trainBpe(sampleOf(texts, documents, 1 - heldOut), tokenizerOptions(texts, vocabSize)));
  const tokens = await openTokens(await files(), texts, {
    ...documents,
    tokenizer,
    cache: cache ?? (node ? await node.cacheDirectory() : "token-cache"),
    endOfDocument: endOfDocument(tokenizer),
    onWarning,
    ...(node && { digest: node.nativeSha256 }),
  });
  try {
    const all = tokens.record.tokens;
    const held = Math.min(mostHeldOut, Math.round(all * heldOut));
    const end = all - Math.round(all * heldOut);
    const starts = pack ? startsIn(tokens.lengths, end, held) : undefined;
    if (held <= (starts?.length ?? 0) || end <= seqLen)
      throw new ArgumentError(`${texts[0]?.name}: the text is too short: it has ${all} tokens`, {
        hint: "Give a longer text, or a smaller seqLen.",
      });
    const known = Math.min(end, mostForBaselines);
    const heldOutIds = Int32Array.from(await tokens.read(end, held));
    const corpus: Corpus = {
      tokenizer,
      trainIds: Int32Array.from(await tokens.read(end - known, known)),
      heldOutIds,
      heldOutBytes: tokenizer.decodeBytes(heldOutIds, { skipSpecialTokens: true }).length,
      ...(starts && { heldOutStarts: starts }),
    };
    const read = node?.threadSource ?? tokenSource;
    const hash = pack ? `${tokens.fingerprint}, packed` : tokens.fingerprint;
    return { corpus, hash, stream: streamFrom(tokens, { end, pack }, read) };
  } catch (error) {
    await tokens.close();
    throw error;
  }
}

/** Where documents begin in a part of the ids, counted from its first. */
function startsIn(lengths: Uint32Array, from: number, length: number): readonly number[] {
  const starts: number[] = [];
  let start = 0;
  for (const document of lengths) {
    if (start >= from + length) break;
    if (start >= from && document > 0) starts.push(start - from);
    start += document;
  }
  return starts;
}

/** The thread begins with the first batch that is asked for. */
function streamFrom(
  tokens: Tokens,
  part: { readonly end: number; readonly pack: boolean },
  read: (tokens: Tokens, options: SourceOptions) => Source<AnyBatch>,
): Stream {
  const open: Source<AnyBatch>[] = [];
  return {
    tokens: part.end,
    source(order) {
      let ahead: Source<AnyBatch> | undefined;
      const begun = (): Source<AnyBatch> => {
        ahead = readAhead(read(tokens, { ...order, ...part }));
        open.push(ahead);
        return ahead;
      };
      const source = (): Source<AnyBatch> => ahead ?? begun();
      return {
        at: (step) => source().at(step),
        ids: (step) => source().ids?.(step) ?? [],
        close: async () => ahead?.close(),
      };
    },
    async close() {
      for (const source of open) await source.close();
      await tokens.close();
    },
  };
}

/** Text from the beginning of each file, of those that come before what is held out. */
async function* sampleOf(texts: readonly TextFile[], options: DocumentOptions, share: number): AsyncGenerator<string> {
  const before = texts.slice(0, Math.max(1, Math.floor(texts.length * share)));
  for (const file of before) {
    let left = Math.min(sampleBytes / before.length, file.size * share);
    for await (const { text } of documentsOf(file, options, { piece: () => undefined, skipped: () => undefined })) {
      if (left <= 0) break;
      const some = text.slice(0, Math.ceil(left));
      yield some;
      left -= some.length;
    }
  }
}

const ends = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"] as const;

/** A corpus of many documents has a token that ends one. */
const tokenizerOptions = (texts: readonly TextFile[], vocabSize: number) =>
  texts.length > 1 || texts.some(({ name }) => isJsonLines(name))
    ? { vocabSize, specialTokens: [ends[0]] }
    : { vocabSize };

function endOfDocument(tokenizer: Tokenizer): number | null {
  for (const token of ends) {
    const id = tokenizer.tokenToId(token);
    if (id !== undefined && tokenizer.addedTokens.some((added) => added.id === id && added.special)) return id;
  }
  return null;
}
