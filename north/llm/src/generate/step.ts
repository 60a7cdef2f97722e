/** One step of generation, compiled: new tokens through the model on its cache, and the token after them, chosen where the logits are. */
import {
  add,
  cast,
  type Dim,
  equal,
  frozen,
  iota,
  jit,
  less,
  max,
  putAlongAxis,
  reshape,
  sub,
  sum,
  symbol,
  symbolic,
  take,
  type Tensor,
  where,
} from "sinan";
import type { LlamaConfig } from "../config.ts";
import type { LayerCache, RopeTables } from "../model/attention.ts";
import { head, type Llama, trunk } from "../model/llama.ts";
import { choose, type Chosen, type Processing } from "./choose.ts";
import type { SamplingSettings } from "./options.ts";

/** What a step does to logits. */
export function processingOf({ temperature, topK, topP, minP, repetitionPenalty }: SamplingSettings): Processing {
  const draw = {
    temperature,
    topK: topK === 0 ? null : topK,
    tail: topP === 1 ? null : 1 - topP,
    minP: minP === 0 ? null : minP,
  };
  return { penalty: repetitionPenalty === 1 ? null : repetitionPenalty, draw: temperature === 0 ? null : draw };
}

interface StepInput {
  readonly model: Llama;
  /** i32 `[rows, time]`, padded behind; null for single tokens. */
  readonly ids: Tensor | null;
  /** i32 `[3, rows]`: where a row's tokens begin, how many of them count, and the place of the last in its whole text; `[4, rows]`
   *  with single tokens. */
  readonly at: Tensor;
  /** u32 `[rows, 2]`: of each row's seed; null where nothing is drawn. */
  readonly keys: Tensor | null;
  /** Of all positions of the cache. */
  readonly rope: RopeTables;
  readonly caches: readonly LayerCache[];
  /** bool `[rows, vocabulary]`: tokens so far, where there is a penalty. */
  readonly seen: Tensor | null;
  readonly processing: Processing;
}

interface StepOutput extends Chosen {
  readonly caches: readonly LayerCache[];
  readonly seen: Tensor | null;
}

/** What padding writes lies behind the last token: no query looks there before a later token has overwritten it. */
function step(
  { model, ids: given, at, keys, rope, caches, seen, processing }: StepInput,
  logprobs: number | null,
): StepOutput {
  const ids = given ?? reshape(at.at(3), [-1, 1]);
  const [rows, time] = ids.dims as [number, Dim];
  const [start, count, position] = [at.at(0), at.at(1), at.at(2)];
  const within = reshape(iota([time], 0), [1, time]);
  const positions = add(within, reshape(start, [rows, 1]));
  const of = (table: Tensor): Tensor => reshape(take(table, positions), [rows, 1, time, -1]);
  const end = add(max(positions, -1), 1);
  const past = { positions, end, rope: { cos: of(rope.cos), sin: of(rope.sin) }, caches };
  const after = trunk(model, ids, { train: false }, past);
  const counts = reshape(count, [rows, 1]);
  const isLast = reshape(equal(within, sub(counts, 1)), [rows, time, 1]);
  const final = time === 1 ? after.x : sum(where(isLast, after.x, 0), 1, { keepDims: true });
  const logits = reshape(head(model, final), [rows, -1]);
  // An id outside of the vocabulary is not noted.
  const noted = seen && putAlongAxis(seen, where(less(within, counts), ids, model.config.vocabSize), true, 1);
  const place = keys && { keys, position: cast(position, "u32") };
  return { ...choose(logits, processing, place, noted, logprobs), caches: after.caches, seen: noted };
}

/** Configurations do not change. */
const texts = new WeakMap<LlamaConfig, string>();

function textOf(config: LlamaConfig): string {
  const known = texts.get(config) ?? JSON.stringify(config);
  texts.set(config, known);
  return known;
}

const steps = new Map<string, Step>();

/** What decides which program a step is. */
export interface StepKind {
  readonly config: LlamaConfig;
  readonly rows: number;
  readonly isSingle: boolean;
  readonly capacity: number;
  readonly processing: Processing;
  readonly logprobs: number | null;
  /** Whether single tokens read weights that were packed once. */
  readonly isFrozen: boolean;
}

/** A compiled step. */
export type Step = (input: StepInput) => StepOutput;

/** Whether two of one model and cache are one program: numbers of the processing are its inputs. */
export function isSameKind(a: StepKind, b: StepKind): boolean {
  if (a.isSingle !== b.isSingle || a.logprobs !== b.logprobs) return false;
  const [p, q] = [a.processing, b.processing];
  if ((p.penalty === null) !== (q.penalty === null)) return false;
  if (p.draw === null || q.draw === null) return p.draw === q.draw;
  const { topK, tail, minP } = p.draw;
  const has = (x: unknown): boolean => x !== null;
  return has(topK) === has(q.draw.topK) && has(tail) === has(q.draw.tail) && has(minP) === has(q.draw.minP);
}

/** One step for prompts of any length and one for single tokens, shared by all sessions: prompts are traced once, and compiled for
 *  each power of two. */
export function stepFor({ config, rows, isSingle, capacity, processing, logprobs, isFrozen }: StepKind): Step {
  const structure = JSON.stringify(processing, (_, value: unknown) => (typeof value === "number" ? 0 : value));
  const key = [textOf(config), rows, isSingle, capacity, structure, logprobs, isFrozen].join(" ");
  const known = steps.get(key);
  if (known) return known;
  const time = symbol("time", { hi: capacity });
  const run = (input: StepInput): StepOutput => step(input, logprobs);
  const donate = ["caches", "seen"] as const;
  const made = isSingle
    ? jit(run, { donate, name: "decode", ...(isFrozen && { frozen: frozen("model") }) })
    : jit(run, { donate, name: "prefill", symbols: symbolic({ ids: [rows, time] }) });
  steps.set(key, made);
  return made;
}
