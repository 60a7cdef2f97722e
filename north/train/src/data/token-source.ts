/** Batches of the ids in a token file, each a pure function of seed and step, read when they are asked for. */
import { ArgumentError, data } from "sinan";
import type { TokenFile } from "./token-file.ts";

/** Where a run's batches come from. */
export interface Source<B> {
  /** The batch of a step, counted from 0: whatever was asked before, the same. A rejection is the step's error. */
  at(step: number): B | Promise<B>;
  /** What is in the batch of a step, in words, where that is known. */
  ids?(step: number): string[];
  close(): Promise<void>;
}

/** Which batches are made of ids. */
export interface SourceOptions {
  /** Windows or packed rows in a batch. */
  readonly batch: number;
  /** Tokens in each. */
  readonly sequence: number;
  /** Of their order. */
  readonly seed: number;
  /** Rows of whole documents, with masks between them, in place of windows that run across documents. Default false. */
  readonly pack?: boolean;
  /** Ids from this one on are in no batch, nor is a packed document that goes beyond it. Default: how many there are. */
  readonly end?: number;
}

/** Batches of a file of tokens. */
export interface TokenSource extends Source<data.Batch | data.PackedBatch> {
  readonly at: (step: number) => Promise<data.Batch | data.PackedBatch>;
  /** The documents of a batch, counted from 0 over all files, and the token of each where it begins. */
  readonly ids: (step: number) => string[];
  readonly stepsPerEpoch: number;
}

/** Batches of a token file: those of `data.tokenBatches` on its ids, or of `data.packedBatches` on its documents.
 *
 *  @throws ArgumentError for absurd sizes and for too few ids
 *  @example const source = tokenSource(tokens, { batch: 8, sequence: 256, seed: 0 }); await source.at(step); */
export function tokenSource(
  file: Pick<TokenFile, "record" | "lengths" | "read" | "close">,
  { batch, sequence, seed, pack = false, end = file.record.tokens }: SourceOptions,
): TokenSource {
  if (!(Number.isSafeInteger(end) && end >= 0 && end <= file.record.tokens))
    throw new ArgumentError(`tokenSource: end: expected a place in the ${file.record.tokens} ids, got ${end}`);
  const close = (): Promise<void> => file.close();
  if (!pack) {
    const { starts, stepsPerEpoch } = data.tokenWindows(end, { batch, sequence, seed });
    const at = async (step: number): Promise<data.Batch> => {
      const windows = await Promise.all(starts(step).map((start) => file.read(start, sequence + 1)));
      const [inputs, targets] = [new Int32Array(batch * sequence), new Int32Array(batch * sequence)];
      windows.forEach((ids, row) => {
        inputs.set(ids.subarray(0, sequence), row * sequence);
        targets.set(ids.subarray(1), row * sequence);
      });
      return { inputs, targets };
    };
    const ids = (step: number): string[] => {
      const firsts = firstsOf(file.lengths);
      return starts(step).map((start) => {
        const [first, last] = [documentAt(firsts, start), documentAt(firsts, start + sequence)];
        const to = last === first ? "" : ` to document ${last}`;
        return `${placeIn(first, start - (firsts[first] as number))}${to}`;
      });
    };
    return { at, ids, close, stepsPerEpoch };
  }
  const firsts = firstsOf(file.lengths);
  const lengths = file.lengths.subarray(
    0,
    firsts.findLastIndex((first) => first <= end),
  );
  const { rows, stepsPerEpoch } = data.packedOrder(data.packDocuments(lengths, sequence), { batch, seed });
  const at = async (step: number): Promise<data.PackedBatch> => {
    const chosen = rows(step);
    const pieces = chosen.flat();
    const ids = await Promise.all(
      pieces.map(({ document, from, length }) => file.read((firsts[document] as number) + from, length + 1)),
    );
    const of = new Map(pieces.map((piece, i) => [piece, ids[i] as ArrayLike<number>]));
    return data.fillPacked(chosen, sequence, (piece) => of.get(piece) ?? []);
  };
  const ids = (step: number): string[] =>
    rows(step)
      .flat()
      .map(({ document, from }) => placeIn(document, from));
  return { at, ids, close, stepsPerEpoch };
}

/** The place of each document's first id, and the end. */
function firstsOf(lengths: Uint32Array): Float64Array {
  const firsts = new Float64Array(lengths.length + 1);
  lengths.forEach((length, document) => {
    firsts[document + 1] = (firsts[document] as number) + length;
  });
  return firsts;
}

/** A place in the texts for people: documents are counted over all files, from 0, in their order. */
const placeIn = (document: number, from: number): string => `document ${document} token ${from}`;

/** The document that an id is of. */
function documentAt(firsts: Float64Array, place: number): number {
  let [low, high] = [0, firsts.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((firsts[middle + 1] as number) <= place) low = middle + 1;
    else high = middle;
  }
  return low;
}
