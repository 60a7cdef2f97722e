/** A call of a Trainer made ready: the directory it writes to, the checkpoint it goes on from, its settings and its text. All that can
 *  be wrong with a call is found here, before anything is written. */
import { ArgumentError, type Checkpoint, type Files, type Json } from "sinan";
import { readRecord } from "@sinan/train";
import { tokenizerFromJson } from "./tokenizer/read-json.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import { type Corpus, corpusOf, readText } from "./trainer-corpus.ts";
import type { TrainCall } from "./trainer-events.ts";
import { changed, type RunOptions, type RunSettings, settle, type TextSource } from "./trainer-options.ts";
import { checkpointIn, freeDirectory, newestDirectory, runName } from "./trainer-runs.ts";

/** A call that was checked and whose text was read. */
export interface Prepared {
  readonly settings: RunSettings;
  readonly corpus: Corpus;
  readonly checkpoint: Checkpoint | null;
  readonly directory: string | null;
  readonly from: number;
  readonly dataHash: string;
  readonly dataPath: string | null;
}

/** @throws ArgumentError, CheckpointError, FileError, FormatError: whatever is wrong with the call */
export async function prepared(
  options: RunOptions,
  call: TrainCall,
  known: Tokenizer | null,
  files: () => Promise<Files>,
): Promise<Prepared> {
  const { data: ownData, ...own } = options;
  const { resume = false, out, onWarning = console.warn } = call;
  const name = typeof own.model === "object" ? "llama" : (own.model ?? "llama-tiny");
  const data = call.data ?? ownData;
  let checkpoint: Checkpoint | null = null;
  let directory = out ?? null;
  if (resume && out === null) throw new ArgumentError("Trainer: resume needs a directory, and out is null");
  if (out === undefined) {
    const stem = runName(call.name ?? (typeof data === "string" ? data : "text"), name);
    directory = await (resume ? newestDirectory : freeDirectory)(await files(), stem);
  }
  if (directory !== null) checkpoint = await checkpointIn(await files(), directory, resume, onWarning);
  const trainer = checkpoint ? readRecord(checkpoint) : null;
  const recorded = asRecord(trainer?.options);
  const settings = settle({ ...own, steps: call.steps }, recorded);
  checkEvery(call);

  const source = data ?? recorded["data"];
  if (!isText(source)) {
    throw new ArgumentError("Trainer: data: expected the path of a text or { text }, got nothing", {
      hint: 'new Trainer({ data: "moby-dick.txt" })',
    });
  }
  const text = await readText(source, files);
  const kept = checkpoint?.blobs["tokenizer.json"];
  // A checkpoint of another text is refused by its fingerprint in the loop; its tokenizer does for getting there.
  const tokenizer = typeof kept === "string" ? tokenizerFromJson(kept) : (known ?? undefined);
  const corpus = corpusOf(text, { ...settings, tokenizer });
  const differ = changed(settings, recorded);
  if (differ.length > 0)
    onWarning(
      `${differ.join(", ")}: not as in the checkpoint, so the losses will not be those of an uninterrupted run`,
    );
  const dataPath = typeof source === "string" ? source : null;
  return { settings, corpus, checkpoint, directory, from: trainer?.step ?? 0, dataHash: text.hash, dataPath };
}

const isText = (source: unknown): source is TextSource =>
  typeof source === "string" ||
  (typeof source === "object" && source !== null && "text" in source && typeof source.text === "string");

const asRecord = (value: Json | undefined): Record<string, Json> =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};

function checkEvery({ checkpointEvery, evaluateEvery }: TrainCall): void {
  for (const [name, value] of Object.entries({ checkpointEvery, evaluateEvery })) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1)) {
      throw new ArgumentError(`Trainer: ${name}: expected a whole number of at least 1, got ${value}`);
    }
  }
}
