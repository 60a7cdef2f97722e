/** Sequences that grow: the keys and values of all their tokens stay on the device, so that each new token costs one position.
 *  The cache has a fixed capacity, a power of two, and prompts are padded to one, so a few compiled steps serve all lengths. Rows
 *  begin at the cache's first place and end where they end: what is behind is not read. */
import { ArgumentError, DisposedError, NonFiniteError, type Tensor, tensor, tree } from "sinan";
import type { LlamaConfig } from "../config.ts";
import type { LayerCache, RopeTables } from "../model/attention.ts";
import { type Llama, ropeTables } from "../model/llama.ts";
import type { Chosen } from "./choose.ts";
import { checkOverflow, checkTokens, ContextError, type Overflow, type Sampling, samplingOf } from "./options.ts";
import { isSameKind, processingOf, type Step, stepFor, type StepKind } from "./step.ts";

const smallestCapacity = 64;
const smallestPrompt = 16;

/** The size of a session's cache. */
export interface SessionOptions {
  /** Tokens that each sequence must have room for; at most, and by default, all positions of the model. */
  readonly capacity?: number;
  /** Sequences that grow side by side. Default 1. */
  readonly rows?: number;
  /** What happens to a sequence that becomes longer: a ContextError, or the older half of its tokens is forgotten and the rest
   *  read anew from the first position. Default `"error"`. */
  readonly overflow?: Overflow;
  /** Whether weights, in f32 or in blocks with activations of 8 bits, are packed once for single tokens, and kept so as long as the model's
   *  own: they take their memory twice then, a token takes a tenth to a third less time and is the same. Default false. */
  readonly frozen?: boolean;
}

/** A token's logarithm of the probability. */
export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
}

/** The token after a sequence. */
export interface Choice {
  readonly token: number;
  /** Where `logprobs` was asked for: of the token, and of the likeliest, from the likeliest on. */
  readonly logprob?: number;
  readonly top?: readonly TokenLogprob[];
}

interface Row {
  /** What the cache holds. */
  tokens: number[];
  /** Tokens before those, which were forgotten. */
  forgotten: number;
}

/** Sequences with their cache, which is freed by `dispose` (or `using`).
 *
 *  @example
 *  const session = new Session(model, { capacity: 256 });
 *  const first = await session.next(tokenizer.encode("Call me"), { temperature: 0.8, seed: 1 });
 *  const second = await session.next([first], { temperature: 0.8, seed: 1 });
 *  session.dispose(); */
export class Session {
  readonly model: Llama;
  /** Positions that the cache holds of each sequence. */
  readonly capacity: number;
  /** That of the model, of which each reading looks through it for parameters without a value. */
  readonly #config: LlamaConfig;
  readonly #overflow: Overflow;
  readonly #isFrozen: boolean;
  readonly #rows: readonly Row[];
  #state: { readonly rope: RopeTables; caches: readonly LayerCache[]; seen: Tensor | null } | null;

  /** @throws ArgumentError */
  constructor(model: Llama, { capacity, rows = 1, overflow, frozen: isFrozen = false }: SessionOptions = {}) {
    const { config } = model;
    const { weight } = model.model.embed_tokens;
    const most = config.maxPositionEmbeddings;
    const wanted = capacity ?? most;
    if (!Number.isInteger(wanted) || wanted < 1 || wanted > most)
      throw new ArgumentError(`a session: expected a capacity from 1 to the model's ${most} positions, got ${wanted}`);
    if (!Number.isInteger(rows) || rows < 1 || rows > 65536)
      throw new ArgumentError(`a session: expected from 1 to 65536 rows, got ${rows}`);
    this.#overflow = checkOverflow(overflow);
    this.#isFrozen = isFrozen;
    this.model = model;
    this.#config = config;
    this.capacity = Math.min(powerOfTwo(wanted, smallestCapacity), most);
    this.#rows = Array.from({ length: rows }, () => ({ tokens: [], forgotten: 0 }));
    const shape = [rows, config.numKeyValueHeads, this.capacity, config.headDim];
    // Not `zeros`, of which equal ones would share memory, so that no step could take it over.
    const empty = () => tensor(new Float32Array(shape.reduce((a, b) => a * b)), { shape, dtype: weight.dtype });
    this.#state = {
      rope: ropeTables(config, this.capacity, weight),
      caches: Array.from({ length: config.numHiddenLayers }, () => ({ key: empty(), value: empty() })),
      seen: null,
    };
  }

  /** Sequences. */
  get rows(): number {
    return this.#rows.length;
  }

  /** Tokens of the first sequence that the cache holds. */
  get length(): number {
    return this.tokens().length;
  }

  /** Tokens of a sequence that the cache holds.
   *  @throws ArgumentError */
  tokens(row = 0): readonly number[] {
    const found = this.#rows[row];
    if (found) return found.tokens;
    throw new ArgumentError(`a session: expected a row below ${this.rows}, got ${row}`);
  }

  /** Forgets all but the first tokens of a sequence, to go on from there.
   *  @throws ArgumentError */
  rewind(length: number, row = 0): void {
    const { length: most } = this.tokens(row);
    if (!Number.isInteger(length) || length < 0 || length > most)
      throw new ArgumentError(`a session: expected to keep from 0 to ${most} tokens, got ${length}`);
    if (length === most) return;
    const sequence = this.#rows[row];
    if (sequence) sequence.tokens.length = length;
    this.#forgetSeen();
  }

  /** Appends tokens to the only sequence and chooses the one after them, which is not appended.
   *
   *  @throws ArgumentError for no token, one outside the vocabulary, or options outside their range; ContextError for more than
   *    fit; NonFiniteError if the model's logits are NaN; DisposedError */
  async next(tokens: readonly number[], sampling: Sampling = {}): Promise<number> {
    if (this.rows !== 1)
      throw new ArgumentError(`next: the session has ${this.rows} rows`, { hint: "use session.step([…])" });
    const [choice] = await this.step([tokens], sampling);
    return choice?.token ?? 0;
  }

  /** Appends tokens to each sequence and chooses the ones after them, which are not appended. A row that is given no token stays as
   *  it is, and has null for a choice.
   *  @throws like `next` */
  async step(given: readonly (readonly number[])[], sampling: Sampling = {}): Promise<(Choice | null)[]> {
    const { rows, model } = this;
    const config = this.#config;
    const state = this.#state;
    if (!state) throw new DisposedError("a session was used after dispose");
    if (given.length !== rows)
      throw new ArgumentError(`a session: expected tokens for each of ${rows} rows, got ${given.length}`);
    for (const tokens of given) if (tokens.length > 0 || rows === 1) checkTokens(tokens, config.vocabSize);
    const settings = samplingOf(sampling, rows, config.vocabSize);
    const fed = this.#fitted(given);
    const longest = Math.max(...fed.map((tokens) => tokens.length));
    if (longest === 0) throw new ArgumentError("a session: expected a token for at least one row, got none");

    const time = longest === 1 ? 1 : Math.min(powerOfTwo(longest, smallestPrompt), this.capacity);
    const isSingle = time === 1;
    const processing = processingOf(settings);
    if (processing.penalty === null) this.#forgetSeen();
    else state.seen ??= this.#newSeen();
    const { rope, caches, seen } = state;
    const { logprobs } = settings;
    // Each tensor costs a microsecond or more: a single token takes one, and what draws nothing has no keys.
    const inputs = {
      ids: isSingle ? null : tensor(this.#padded(fed, time), { shape: [rows, time], dtype: "i32" }),
      at: tensor(this.#placesOf(fed, isSingle), { shape: [isSingle ? 4 : 3, rows], dtype: "i32" }),
      keys: processing.draw ? tensor(keysOf(settings.seeds), { shape: [rows, 2], dtype: "u32" }) : null,
    };
    const isFrozen = this.#isFrozen && isSingle;
    const run = this.#stepFor({ config, rows, isSingle, capacity: this.capacity, processing, logprobs, isFrozen });
    const after = run({ model, ...inputs, rope, caches, seen, processing });
    state.caches = after.caches;
    state.seen = after.seen;
    fed.forEach((tokens, r) => this.#rows[r]?.tokens.push(...tokens));
    try {
      return await this.#read(after, given, logprobs);
    } finally {
      for (const t of [inputs.ids, inputs.at, inputs.keys, after.token]) t?.dispose();
      for (const { tensor: t } of tree.tensors(after.logprobs)) t.dispose();
    }
  }

  #padded(fed: readonly (readonly number[])[], time: number): Int32Array {
    const ids = new Int32Array(this.rows * time);
    fed.forEach((tokens, r) => ids.set(tokens, r * time));
    return ids;
  }

  /** Where each row's tokens begin, how many there are, and the place of the last in its whole text; a single one itself. */
  #placesOf(fed: readonly (readonly number[])[], isSingle: boolean): Int32Array {
    const { rows } = this;
    const at = new Int32Array((isSingle ? 4 : 3) * rows);
    fed.forEach((tokens, r) => {
      const row = this.#rows[r] as Row;
      at[r] = row.tokens.length;
      at[rows + r] = tokens.length;
      at[2 * rows + r] = Math.max(0, row.forgotten + row.tokens.length + tokens.length - 1);
      if (isSingle) at[3 * rows + r] = tokens[0] ?? 0;
    });
    return at;
  }

  /** The step of the last call, where it was one of the same kind. */
  #recent: { readonly kind: StepKind; readonly run: Step } | undefined;

  #stepFor(kind: StepKind): Step {
    const recent = this.#recent;
    if (recent && isSameKind(recent.kind, kind)) return recent.run;
    const run = stepFor(kind);
    this.#recent = { kind, run };
    return run;
  }

  async #read(
    { token, logprobs }: Chosen,
    given: readonly (readonly number[])[],
    count: number | null,
  ): Promise<(Choice | null)[]> {
    const [tokens, chosen, top, ids] = await Promise.all([
      token.data(),
      logprobs?.chosen.data(),
      count ? logprobs?.top.data() : undefined,
      count ? logprobs?.ids.data() : undefined,
    ]);
    return given.map(({ length }, r) => {
      if (length === 0) return null;
      const id = Number(tokens[r]);
      if (id >= this.#config.vocabSize)
        throw new NonFiniteError(
          `position ${this.tokens(r).length}: the model's logits are NaN, so there is no next token`,
          { hint: "check the weights" },
        );
      if (count === null || !chosen) return { token: id };
      const best = Array.from({ length: count }, (_, i) => ({
        id: Number(ids?.[r * count + i]),
        logprob: Number(top?.[r * count + i]),
      }));
      return { token: id, logprob: Number(chosen[r]), top: best };
    });
  }

  /** What is fed to each row: what was given, or where that does not fit the newer half of all. */
  #fitted(given: readonly (readonly number[])[]): readonly (readonly number[])[] {
    const isOver = (tokens: readonly number[], r: number) => this.tokens(r).length + tokens.length > this.capacity;
    const over = given.findIndex(isOver);
    if (over < 0) return given;
    if (this.#overflow === "error")
      throw new ContextError(
        `a session: ${this.tokens(over).length} + ${given[over]?.length} tokens do not fit its ${this.capacity} positions`,
        { hint: 'open it with a greater capacity, or with overflow: "slide"' },
      );
    return given.map((tokens, r) => {
      if (!isOver(tokens, r)) return tokens;
      const row = this.#rows[r] as Row;
      const all = [...row.tokens, ...tokens];
      const kept = all.slice(-Math.max(1, this.capacity >> 1));
      row.forgotten += all.length - kept.length;
      row.tokens = [];
      this.#forgetSeen();
      return kept;
    });
  }

  /** The tokens that the rows have, as a mask of the vocabulary. */
  #newSeen(): Tensor {
    const { vocabSize } = this.#config;
    const mask = new Uint8Array(this.rows * vocabSize);
    this.#rows.forEach(({ tokens }, r) => {
      for (const id of tokens) mask[r * vocabSize + id] = 1;
    });
    return tensor(mask, { shape: [this.rows, vocabSize], dtype: "bool" });
  }

  #forgetSeen(): void {
    this.#state?.seen?.dispose();
    if (this.#state) this.#state.seen = null;
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

/** u32 `[rows, 2]` */
function keysOf(seeds: readonly number[]): Uint32Array {
  const keys = new Uint32Array(2 * seeds.length);
  seeds.forEach((seed, r) => keys.set([Math.floor(seed / 2 ** 32), seed >>> 0], 2 * r));
  return keys;
}

function powerOfTwo(n: number, least: number): number {
  let p = least;
  while (p < n) p *= 2;
  return p;
}
