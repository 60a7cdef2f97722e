/** A text as a language model meets it: the part to learn from and the end that is held out, both as ids of a tokenizer that
 *  was trained on the first part alone. */
import {
  ArgumentError,
  data as batches,
  type Files,
  FormatError,
  hostTurn,
  jit,
  nn,
  sha256Hex,
  type Tensor,
  tensor,
} from "sinan";
import { type Baselines, baselines } from "./baselines/baselines.ts";
import { bitsPerByte } from "./baselines/bits-per-byte.ts";
import type { Llama } from "./model/llama.ts";
import type { TokenInput } from "./model/positions.ts";
import { trainBpe } from "./tokenizer/train.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";

export interface Corpus {
  readonly tokenizer: Tokenizer;
  readonly trainIds: Int32Array;
  readonly heldOutIds: Int32Array;
  readonly heldOutBytes: number;
  /** Where documents begin among the held-out ids, in order, when none may see another; absent where windows run across them. */
  readonly heldOutStarts?: readonly number[];
}

/** A text that was read, and the fingerprint by which it is known again. */
export interface Text {
  readonly bytes: Uint8Array;
  /** SHA-256, hexadecimal. */
  readonly hash: string;
  /** For errors and for the name of the run. */
  readonly name: string;
}

/** @throws FileError if the file cannot be read; ArgumentError if the text is empty */
export async function readText(source: string | { readonly text: string }, files: () => Promise<Files>): Promise<Text> {
  const isPath = typeof source === "string";
  const bytes = isPath ? await (await files()).read(source) : new TextEncoder().encode(source.text);
  const name = isPath ? source : "the text";
  if (bytes.length === 0)
    throw new ArgumentError(`${name}: expected some text to learn from, the file is empty`, {
      hint: "Give a UTF-8 text of some thousand characters.",
    });
  return { bytes, hash: sha256Hex(bytes), name };
}

/** Splits a text and tokenizes it, with a new tokenizer of at most `vocabSize` ids or with the given one.
 *  @throws FormatError if the text is not UTF-8; ArgumentError if it is too short for a window and a held-out part */
export function corpusOf(
  text: Text,
  {
    heldOut,
    vocabSize,
    seqLen,
    tokenizer,
  }: { heldOut: number; vocabSize: number; seqLen: number; tokenizer?: Tokenizer | undefined },
): Corpus {
  const { bytes, name } = text;
  const cut = cutAt(bytes, Math.floor(bytes.length * (1 - heldOut)));
  const [before, after] = [decoded(bytes.subarray(0, cut), name), decoded(bytes.subarray(cut), name)];
  if (before.length === 0 || after.length === 0)
    throw tooShort(name, `${bytes.length} bytes`, "cannot be split in two");
  const own = tokenizer ?? trainBpe(before, { vocabSize });
  const trainIds = own.encode(before, { specialTokensAsText: true });
  const heldOutIds = own.encode(after, { specialTokensAsText: true });
  if (trainIds.length <= seqLen)
    throw tooShort(name, `${trainIds.length} tokens to learn from`, `are not more than one window of ${seqLen}`);
  return { tokenizer: own, trainIds, heldOutIds, heldOutBytes: bytes.length - cut };
}

const tooShort = (name: string, what: string, why: string): ArgumentError =>
  new ArgumentError(`${name}: the text is too short: its ${what} ${why}`, {
    hint: "Give a longer text, or a smaller seqLen.",
  });

/** After the next line's end if one is near, otherwise at the next character. */
function cutAt(bytes: Uint8Array, near: number): number {
  const newline = bytes.indexOf(10, near);
  if (newline >= 0 && newline - near < 1000 && newline + 1 < bytes.length) return newline + 1;
  let cut = near;
  while (cut < bytes.length && ((bytes[cut] ?? 0) & 0xc0) === 0x80) cut++;
  return cut;
}

function decoded(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError(`${name}: expected UTF-8 text, found bytes that are not`, {
      cause,
      hint: "Convert the file to UTF-8.",
    });
  }
}

/** N-gram models over the same tokens, for comparison. */
export const baselinesOf = ({ tokenizer, trainIds, heldOutIds, heldOutBytes }: Corpus): Baselines =>
  baselines(trainIds, heldOutIds, { vocabSize: tokenizer.vocabSize, heldOutBytes });

/** Measures a model on the held-out part: every token of it is predicted once, the first after the last one that was learned
 *  from, in windows of `seqLen` that overlap by half, of which the later half counts: so each token, but for those at the
 *  very beginning, has at least half a window before it. Where documents begin at `heldOutStarts`, none is seen from another: their
 *  first tokens have nothing before them and do not count, nor do their bytes, as when packed documents are learned from.
 *
 *  @returns a function from the model to the mean loss of a token, in nats, and bits per byte; it throws the reason of a signal that is
 *           aborted before its last batch */
export function heldOutLoss(
  corpus: Corpus,
  seqLen: number,
  batchSize: number,
): (model: Llama, signal?: AbortSignal) => Promise<{ loss: number; bitsPerByte: number }> {
  const { tokenizer, trainIds, heldOutIds, heldOutBytes, heldOutStarts } = corpus;
  const ids = new Int32Array(1 + heldOutIds.length);
  ids.set([trainIds.at(-1) ?? 0]);
  ids.set(heldOutIds, 1);
  const first = new Uint8Array(ids.length); // 1 where a document begins
  for (const start of heldOutStarts ?? []) first[start + 1] = 1;
  const firstIds = heldOutIds.filter((_, i) => first[i + 1] === 1);
  const count = heldOutIds.length - firstIds.length;
  const bytes = heldOutBytes - tokenizer.decodeBytes(firstIds, { skipSpecialTokens: true }).length;
  const stride = Math.ceil(seqLen / 2);
  const windows = 1 + Math.max(0, Math.ceil((heldOutIds.length - seqLen) / stride));
  const total = jit(
    (model: Llama, inputs: TokenInput, targets: Tensor) =>
      nn.crossEntropy(model(inputs), targets, { reduction: "sum", ignoreIndex: batches.ignoreIndex }),
    { name: "heldOut" },
  );
  const shape = [batchSize, seqLen];
  const batchFrom = (from: number): [TokenInput, Tensor] => {
    const segments = new Int32Array(batchSize * seqLen);
    const inputs = new Int32Array(batchSize * seqLen);
    const targets = new Int32Array(batchSize * seqLen).fill(batches.ignoreIndex);
    for (let row = 0; row < Math.min(batchSize, windows - from); row++) {
      const window = from + row;
      const last = Math.min(seqLen, heldOutIds.length - window * stride);
      for (let t = 0, segment = 0; t < last; t++) {
        const [place, at] = [row * seqLen + t, window * stride + t];
        if (first[at] === 1) segment++;
        segments[place] = segment;
        inputs[place] = ids[at] ?? 0;
        const counts = window === 0 || t >= seqLen - stride;
        if (counts && first[at + 1] === 0) targets[place] = ids[at + 1] ?? 0;
      }
    }
    const of = (values: Int32Array): Tensor => tensor(values, { shape });
    return [{ ids: of(inputs), ...(heldOutStarts && { segments: of(segments) }) }, of(targets)];
  };
  return async (model, signal) => {
    let nats = 0;
    for (let from = 0; from < windows; from += batchSize) {
      nats += await total(model, ...batchFrom(from)).item();
      await hostTurn(); // signals and deadlines wait for one
      signal?.throwIfAborted();
    }
    const loss = nats / count;
    return { loss, bitsPerByte: bitsPerByte(loss, count, bytes) };
  };
}
