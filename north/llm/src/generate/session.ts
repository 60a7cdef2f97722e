/** A sequence that grows: the keys and values of all its tokens stay on the device, so that each new token costs one position.
 *  The cache has a fixed capacity, a power of two, and prompts are padded to one, so a few compiled steps serve all lengths. */

import {
  add,
  ArgumentError,
  cast,
  type Dim,
  DisposedError,
  div,
  equal,
  iota,
  jit,
  type Key,
  key as keyOf,
  max,
  min,
  NonFiniteError,
  type Operand,
  random,
  reshape,
  symbol,
  symbolic,
  take,
  type Tensor,
  tensor,
  tree,
  where,
} from "sinan";
import type { LlamaConfig } from "../config.ts";
import type { LayerCache, RopeTables } from "../model/attention.ts";
import { head, type Llama, ropeTables, trunk } from "../model/llama.ts";

/** How the next token is chosen. */
export interface Sampling {
  /** 0 takes the likeliest token; above, the logits are divided by it and one is drawn. Default 0. */
  readonly temperature?: number;
  /** The same seed draws the same tokens. Each position has a key of its own, so a text that is continued in another session
   *  goes on as it would have. Default 0. */
  readonly seed?: number;
}

const smallestCapacity = 64;
const smallestPrompt = 16;

export class Session {
  readonly model: Llama;
  /** Positions that the cache holds. */
  readonly capacity: number;
  #length = 0;
  #state: { readonly rope: RopeTables; caches: readonly LayerCache[] } | null;

  /** @param capacity  tokens that the session must hold; at most, and by default, all positions of the model
   *  @throws ArgumentError */
  constructor(model: Llama, { capacity }: { readonly capacity?: number } = {}) {
    const { config } = model;
    const { weight } = model.model.embed_tokens;
    const most = config.maxPositionEmbeddings;
    const wanted = capacity ?? most;
    if (!Number.isInteger(wanted) || wanted < 1 || wanted > most)
      throw new ArgumentError(`a session: expected a capacity from 1 to the model's ${most} positions, got ${wanted}`);
    this.model = model;
    this.capacity = Math.min(powerOfTwo(wanted, smallestCapacity), most);
    const shape = [1, config.numKeyValueHeads, this.capacity, config.headDim];
    // Not `zeros`, of which equal ones would share memory, so that no step could take it over.
    const empty = () => tensor(new Float32Array(shape.reduce((a, b) => a * b)), { shape, dtype: weight.dtype });
    this.#state = {
      rope: ropeTables(config, this.capacity, weight),
      caches: Array.from({ length: config.numHiddenLayers }, () => ({ key: empty(), value: empty() })),
    };
  }

  /** Tokens so far. */
  get length(): number {
    return this.#length;
  }

  /** Appends tokens and chooses the one after them, which is not appended.
   *
   *  @throws ArgumentError for no token, one outside the vocabulary, more than fit, or options outside their range;
   *    NonFiniteError if the model's logits are NaN; DisposedError */
  async next(tokens: readonly number[], sampling: Sampling = {}): Promise<number> {
    const { config } = this.model;
    if (!this.#state) throw new DisposedError("a session was used after dispose");
    const { rope, caches } = this.#state;
    checkTokens(tokens, config.vocabSize);
    checkSampling(sampling);
    const { temperature = 0, seed = 0 } = sampling;
    const draw = temperature === 0 ? null : { temperature, key: keyOf(seed) };
    const start = this.#length;
    if (start + tokens.length > this.capacity)
      throw new ArgumentError(
        `a session: ${start} + ${tokens.length} tokens do not fit its ${this.capacity} positions`,
      );
    const padded = tokens.length === 1 ? 1 : Math.min(powerOfTwo(tokens.length, smallestPrompt), this.capacity);
    const ids = tensor(
      Int32Array.from({ length: padded }, (_, i) => tokens[i] ?? 0),
      { shape: [1, padded] },
    );
    const step = stepFor(config, padded === 1, this.capacity, draw !== null);
    const after = step({ model: this.model, ids, start, last: tokens.length - 1, rope, caches, draw });
    this.#state.caches = after.caches;
    this.#length += tokens.length;
    const token = await after.token.item();
    for (const t of [after.token, ids, draw?.key]) t?.dispose();
    if (token < config.vocabSize) return token;
    throw new NonFiniteError(`position ${this.#length}: the model's logits are NaN, so there is no next token`, {
      hint: "check the weights",
    });
  }

  /** Frees the cache. */
  dispose(): void {
    for (const { tensor } of tree.tensors(this.#state)) tensor.dispose();
    this.#state = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

interface StepInput {
  readonly model: Llama;
  /** i32 `[1, time]`, padded behind. */
  readonly ids: Tensor;
  /** The position of the first of them. */
  readonly start: Operand;
  /** Which of them is the last that counts. */
  readonly last: Operand;
  /** Of all positions of the cache. */
  readonly rope: RopeTables;
  readonly caches: readonly LayerCache[];
  readonly draw: { readonly temperature: Operand; readonly key: Key } | null;
}

interface StepOutput {
  /** i32 `[1]`; the size of the vocabulary where no logit is a number. */
  readonly token: Tensor;
  readonly caches: readonly LayerCache[];
}

/** What padding writes lies behind the last token: no query looks there before a later token has overwritten it. */
function step({ model, ids, start, last, rope, caches, draw }: StepInput): StepOutput {
  const time = ids.dims[1] as Dim;
  const positions = add(reshape(iota([time], 0), [1, time]), cast(start, "i32"));
  const of = (table: Tensor): Tensor => reshape(take(table, positions), [1, 1, time, -1]);
  const at = { cos: of(rope.cos), sin: of(rope.sin) };
  const end = add(max(positions, -1), 1);
  const after = trunk(model, ids, { train: false }, { positions, end, rope: at, caches });
  const final = take(after.x, reshape(cast(last, "i32"), [1]), 1);
  const logits = reshape(head(model, final), [1, -1]);
  if (!draw) return { token: argmax(logits), caches: after.caches };
  const key = random.fold(draw.key, cast(add(start, last), "u32"));
  // The largest of logits / temperature + Gumbel noise is a draw from the softmax (Gumbel 1954; Maddison et al. 2014, §2).
  return { token: argmax(add(div(logits, draw.temperature), random.gumbel(key, logits.dims))), caches: after.caches };
}

/** The position of the largest along the last axis, the first where several are; the axis' size where it holds a NaN. */
function argmax(x: Tensor): Tensor {
  const size = x.shape.at(-1) as number;
  return min(where(equal(x, max(x, -1, { keepDims: true })), iota(x.dims, x.rank - 1), size), -1);
}

const steps = new Map<string, (input: StepInput) => StepOutput>();

/** One step for prompts of any length and one for single tokens, shared by all sessions: prompts are traced once, and compiled for
 *  each power of two. */
function stepFor(
  config: LlamaConfig,
  isSingle: boolean,
  capacity: number,
  draws: boolean,
): (input: StepInput) => StepOutput {
  const key = `${JSON.stringify(config)} ${isSingle} ${capacity} ${draws}`;
  const known = steps.get(key);
  if (known) return known;
  const time = symbol("time", { hi: capacity });
  const made = isSingle
    ? jit(step, { donate: ["caches"], name: "decode" })
    : jit(step, { donate: ["caches"], name: "prefill", symbols: symbolic({ ids: [1, time] }) });
  steps.set(key, made);
  return made;
}

export function checkTokens(tokens: readonly number[], vocabulary: number): void {
  if (tokens.length === 0)
    throw new ArgumentError("generation needs at least one token to begin with", {
      hint: "give a prompt, or the token that begins a text",
    });
  for (const id of tokens)
    if (!Number.isInteger(id) || id < 0 || id >= vocabulary)
      throw new ArgumentError(`a token's id is a whole number below ${vocabulary}, got ${id}`, {
        hint: "Is this the tokenizer that the model was trained with?",
      });
}

/** @throws ArgumentError */
export function checkSampling({ temperature = 0, seed = 0 }: Sampling): void {
  if (!Number.isFinite(temperature) || temperature < 0)
    throw new ArgumentError(`temperature: expected a number of at least 0, got ${temperature}`);
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new ArgumentError(`seed: expected a whole number of at least 0, got ${seed}`);
}

function powerOfTwo(n: number, least: number): number {
  let p = least;
  while (p < n) p *= 2;
  return p;
}
