/** Batches of token windows as a pure function of the step: nothing is remembered, so a run that resumes at step s reads
 *  what it would have read. */
import { ArgumentError } from "../errors.ts";
import { mix, mixNumber, permute } from "./permutation.ts";

/** Tokens one after another. */
export type TokenIds = Int32Array | Uint32Array | Uint16Array | readonly number[];

/** Windows of tokens, row-major [batch, sequence], and the token after each. */
export interface Batch {
  /** [batch, sequence], row-major. */
  readonly inputs: Int32Array;
  /** [batch, sequence]: what follows each input. */
  readonly targets: Int32Array;
}

/** Batches as a function of the step. */
export interface TokenBatches {
  /** The batch of a step, counted from 0. */
  at(step: number): Batch;
  /** Windows in an epoch. */
  readonly windows: number;
  /** Steps in an epoch; a batch may begin in one and end in the next. */
  readonly stepsPerEpoch: number;
  readonly batch: number;
  readonly sequence: number;
}

/** The shape of a batch. */
export interface BatchOptions {
  /** Windows in a batch. */
  readonly batch: number;
  /** Tokens in a window. */
  readonly sequence: number;
}

/** Training batches. An epoch cuts the text into windows of `sequence` tokens, from a place that differs from epoch to epoch,
 *  and takes each once in an order of its own; both follow from the seed and the epoch alone.
 *
 *  @param ids  at least sequence + 1 tokens
 *  @throws ArgumentError for an empty or too short text, a size that is no whole number above 0, a seed below 0
 *  @example const batches = data.tokenBatches(ids, { batch: 8, sequence: 256, seed: 0 }); const { inputs, targets } = batches.at(step); */
export function tokenBatches(
  ids: TokenIds,
  { batch, sequence, seed }: BatchOptions & { readonly seed: number },
): TokenBatches {
  const order = tokenWindows(ids.length, { batch, sequence, seed });
  const at = (step: number): Batch => {
    const starts = order.starts(step);
    return gather(ids, sequence, batch, (row) => starts[row] as number);
  };
  return { at, windows: order.windows, stepsPerEpoch: order.stepsPerEpoch, batch, sequence };
}

/** Where the windows of each step begin: the order of `tokenBatches`, for a text that is not in memory. */
export interface TokenWindows extends Pick<TokenBatches, "windows" | "stepsPerEpoch"> {
  /** The first token of each of the step's windows, which has `sequence` + 1 tokens. */
  readonly starts: (step: number) => number[];
}

/** @param length  how many tokens the text has
 *  @throws ArgumentError as `tokenBatches`
 *  @example const order = data.tokenWindows(1e12, { batch: 8, sequence: 256, seed: 0 }); order.starts(step); */
export function tokenWindows(
  length: number,
  { batch, sequence, seed }: BatchOptions & { readonly seed: number },
): TokenWindows {
  checkSizes("tokenBatches", { length }, batch, sequence);
  checkSeed("tokenBatches", seed);
  // As many windows as fit wherever the cut begins; a text too short for that has one.
  const windows = Math.max(1, Math.floor((length - sequence) / sequence));
  const offsets = Math.min(sequence, length - windows * sequence);
  const starts = (step: number): number[] => {
    checkStep("tokenBatches", step);
    return Array.from({ length: batch }, (_, row) => {
      const { word, place } = shuffled(windows, seed, step * batch + row);
      return (mix(word, 1) % offsets) + place * sequence;
    });
  };
  return { starts, windows, stepsPerEpoch: Math.ceil(windows / batch) };
}

/** The `index`-th of an endless stream whose every `count` are a permutation of 0..count − 1, another one each epoch.
 *  @returns its place in the order, and a word of the epoch */
export function shuffled(
  count: number,
  seed: number,
  index: number,
): { readonly word: number; readonly place: number } {
  const word = mixNumber(Math.floor(index / count), mixNumber(seed, 0));
  return { word, place: permute(count, mix(word, 2), index % count) };
}

/** A batch for evaluation: at the end of the tokens some of its targets are none. */
export interface OrderedBatch extends Batch {
  /** How many targets are tokens; the others are `ignoreIndex`. */
  readonly predicted: number;
}

/** What fills the targets of a last batch that is not full: give it to `nn.crossEntropy`. */
export const ignoreIndex = -1;

/** Evaluation batches: every token but the first is a target exactly once, in order, each window with no context before it.
 *
 *  @param ids  at least 2 tokens
 *  @throws ArgumentError
 *  @example for (let i = 0; i < held.count; i++) total += loss(held.at(i)) * held.at(i).predicted; */
export function orderedBatches(
  ids: TokenIds,
  { batch, sequence }: BatchOptions,
): { readonly count: number; readonly predicted: number; at(index: number): OrderedBatch } {
  checkSizes("orderedBatches", ids, batch, sequence, 2);
  const predicted = ids.length - 1;
  const count = Math.ceil(predicted / (batch * sequence));
  const at = (index: number): OrderedBatch => {
    if (!Number.isSafeInteger(index) || index < 0 || index >= count)
      throw new ArgumentError(`orderedBatches: expected an index in 0..${count - 1}, got ${index}`);
    const made = gather(ids, sequence, batch, (row) => (index * batch + row) * sequence);
    return { ...made, predicted: Math.min(batch * sequence, predicted - index * batch * sequence) };
  };
  return { count, predicted, at };
}

/** A text in two parts: its end, for evaluation, and what comes before.
 *
 *  @param heldOut  the share of the end, above 0 and below 1
 *  @throws ArgumentError if a part would be empty
 *  @example const { train, heldOut } = data.splitTokens(ids, { heldOut: 0.1 }); */
export function splitTokens<T extends TokenIds>(
  ids: T,
  { heldOut }: { readonly heldOut: number },
): { readonly train: T; readonly heldOut: T } {
  if (!(heldOut > 0 && heldOut < 1))
    throw new ArgumentError(`splitTokens: expected a share above 0 and below 1, got ${heldOut}`);
  const cut = Math.round(ids.length * (1 - heldOut));
  if (cut === 0 || cut === ids.length)
    throw new ArgumentError(`splitTokens: ${ids.length} tokens are too few to hold out ${heldOut} of them`, {
      hint: "give a longer text",
    });
  const part = (from: number, to: number): T => ("subarray" in ids ? ids.subarray(from, to) : ids.slice(from, to)) as T;
  return { train: part(0, cut), heldOut: part(cut, ids.length) };
}

function gather(ids: TokenIds, sequence: number, batch: number, startOf: (row: number) => number): Batch {
  const inputs = new Int32Array(batch * sequence);
  const targets = new Int32Array(batch * sequence).fill(ignoreIndex);
  for (let row = 0; row < batch; row++) {
    const start = startOf(row);
    const end = Math.min(sequence, ids.length - 1 - start);
    for (let t = 0; t < end; t++) {
      inputs[row * sequence + t] = ids[start + t] as number;
      targets[row * sequence + t] = ids[start + t + 1] as number;
    }
  }
  return { inputs, targets };
}

export function checkStep(name: string, step: number): void {
  if (!Number.isSafeInteger(step) || step < 0)
    throw new ArgumentError(`${name}: expected a step that is a whole number of at least 0, got ${step}`);
}

export function checkSeed(name: string, seed: number): void {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new ArgumentError(`${name}: expected a seed that is a whole number of at least 0, got ${seed}`);
}

export function checkCounts(name: string, counts: Readonly<Record<string, number>>): void {
  for (const [what, n] of Object.entries(counts))
    if (!Number.isSafeInteger(n) || n < 1)
      throw new ArgumentError(`${name}: expected ${what} to be a whole number of at least 1, got ${n}`);
}

function checkSizes(
  name: string,
  ids: { readonly length: number },
  batch: number,
  sequence: number,
  least = sequence + 1,
): void {
  checkCounts(name, { batch, sequence });
  if (ids.length === 0) throw new ArgumentError(`${name}: the text is empty`, { hint: "is the file the right one?" });
  if (ids.length < least)
    throw new ArgumentError(
      `${name}: a window of ${sequence} tokens needs at least ${least}, the text has ${ids.length}`,
      { hint: "give a longer text or a shorter sequence" },
    );
}
