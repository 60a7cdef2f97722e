/** A call of a Trainer made ready: the directory it writes to, the checkpoint it goes on from, its settings and its text. All that can
 *  be wrong with a call is found here, before anything is written. */
import { ArgumentError, type Checkpoint, type Json } from "sinan";
import { readRecord } from "@sinan/train";
import { tokenizerFromJson } from "./tokenizer/read-json.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import { type Corpus, corpusOf, readText } from "./trainer-corpus.ts";
import { streamedTexts, type Storage, type Stream, streamOf } from "./trainer-stream.ts";
import type { TrainCall } from "./trainer-events.ts";
import {
  changed,
  type RunOptions,
  type RunSettings,
  settle,
  type TextFiles,
  type TextSource,
} from "./trainer-options.ts";
import { checkpointIn, freeDirectory, newestDirectory, runName } from "./trainer-runs.ts";

/** A call that was checked and whose text was read. */
export interface Prepared {
  readonly settings: RunSettings;
  readonly corpus: Corpus;
  readonly checkpoint: Checkpoint | null;
  readonly directory: string | null;
  readonly from: number;
  readonly dataHash: string;
  /** What to record of the data, so that a resumed run finds it; null for a text that was given itself. */
  readonly dataPath: Json;
  /** The batches of a text that is not in memory. */
  readonly stream: Stream | null;
}

/** @throws ArgumentError, CheckpointError, FileError, FormatError: whatever is wrong with the call */
export async function prepared(
  options: RunOptions,
  call: TrainCall,
  known: Tokenizer | null,
  { files, isNode }: Storage,
): Promise<Prepared> {
  const { data: ownData, ...own } = options;
  const { resume = false, out, onWarning = console.warn } = call;
  const name = typeof own.model === "object" ? "llama" : (own.model ?? "llama-tiny");
  const data = call.data ?? ownData;
  let checkpoint: Checkpoint | null = null;
  let directory = out ?? null;
  if (resume && out === null) throw new ArgumentError("Trainer: resume needs a directory, and out is null");
  if (out === undefined) {
    const stem = runName(call.name ?? nameOf(data), name);
    directory = await (resume ? newestDirectory : freeDirectory)(await files(), stem);
  }
  if (directory !== null) checkpoint = await checkpointIn(await files(), directory, resume, onWarning);
  const trainer = checkpoint ? readRecord(checkpoint) : null;
  const recorded = asRecord(trainer?.options);
  const settings = settle({ ...own, steps: call.steps }, recorded);
  checkEvery(call);

  const source = data ?? recorded["data"];
  if (!isText(source)) {
    throw new ArgumentError("Trainer: data: expected the path of a text, { text } or { files }, got nothing", {
      hint: 'new Trainer({ data: "moby-dick.txt" })',
    });
  }
  const kept = checkpoint?.blobs["tokenizer.json"];
  // A checkpoint of another text is refused by its fingerprint in the loop; its tokenizer does for getting there.
  const tokenizer = typeof kept === "string" ? tokenizerFromJson(kept) : (known ?? undefined);
  const read = async (): Promise<{ corpus: Corpus; hash: string; stream: Stream | null }> => {
    const texts = await streamedTexts(source, { files, isNode });
    if (texts) return streamOf(texts, { ...settings, tokenizer, onWarning }, { files, isNode });
    const text = await readText(source as Exclude<TextSource, TextFiles>, files);
    return { corpus: corpusOf(text, { ...settings, tokenizer }), hash: text.hash, stream: null };
  };
  const { corpus, hash: dataHash, stream } = await read();
  const differ = changed(settings, recorded);
  if (differ.length > 0)
    onWarning(
      `${differ.join(", ")}: not as in the checkpoint, so the losses will not be those of an uninterrupted run`,
    );
  return {
    settings,
    corpus,
    checkpoint,
    directory,
    from: trainer?.step ?? 0,
    dataHash,
    dataPath: recordOf(source),
    stream,
  };
}

const isText = (source: unknown): source is TextSource =>
  typeof source === "string" ||
  (typeof source === "object" &&
    source !== null &&
    (("text" in source && typeof source.text === "string") ||
      ("files" in source && (typeof source.files === "string" || Array.isArray(source.files)))));

/** What a directory is called after. */
function nameOf(data: TextSource | undefined): string {
  if (typeof data === "string") return data.replace(/\/?\*.*$/, "") || "text";
  if (data === undefined || "text" in data) return "text";
  const first = typeof data.files === "string" ? data.files : data.files[0];
  return nameOf(typeof first === "object" ? first.name : first);
}

function recordOf(source: TextSource): Json {
  if (typeof source === "string") return source;
  if ("text" in source) return null;
  const paths = typeof source.files === "string" ? [source.files] : source.files;
  return paths.every((path) => typeof path === "string") ? { ...source, files: [...paths] } : null;
}

const asRecord = (value: Json | undefined): Record<string, Json> =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};

function checkEvery({ checkpointEvery, evaluateEvery }: TrainCall): void {
  for (const [name, value] of Object.entries({ checkpointEvery, evaluateEvery })) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1)) {
      throw new ArgumentError(`Trainer: ${name}: expected a whole number of at least 1, got ${value}`);
    }
  }
}
