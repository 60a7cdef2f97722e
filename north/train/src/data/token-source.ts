/** Batches of the ids in a token file, each a pure function of seed and step, read when they are asked for. */
import { ArgumentError, data } from "sinan";
import type { TokenFile } from "./token-file.ts";

/** Where a run's batches come from. */
export interface Source<B> {
  /** The batch of a step, counted from 0: whatever was asked before, the same. A rejection is the step's error. */
  at(step: number): B | Promise<B>;
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
    return { at, close, stepsPerEpoch };
  }
  const firsts = new Float64Array(file.lengths.length + 1);
  file.lengths.forEach((length, document) => {
    firsts[document + 1] = (firsts[document] as number) + length;
  });
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
  return { at, close, stepsPerEpoch };
}
