/** Where tokens are and what they may see: rotary tables of their positions, the first key of each query's document, and windows. */

import {
  cummax,
  type Dim,
  expandDims,
  iota,
  maximum,
  minimum,
  mul,
  nn,
  reshape,
  ShapeError,
  sub,
  take,
  type Tensor,
  where,
} from "sinan";
import type { LlamaConfig } from "../config.ts";
import { ropeFrequencies } from "../config/rope.ts";
import { alibi } from "./alibi.ts";
import type { RopeTables } from "./attention.ts";
import type { Continuation } from "./llama.ts";

/** Tokens with what a batch of packed documents says of them. */
export interface TokenInput {
  /** i32 `[batch, time]` */
  readonly ids: Tensor;
  /** The number of the document that a token belongs to, i32 `[batch, time]`: where it changes along a row another document begins,
   *  and no token sees one of another. */
  readonly segments?: Tensor | undefined;
  /** i32 `[batch, time]`; without them each document, or row, counts from 0. */
  readonly positions?: Tensor | undefined;
}

/** The longest sequence that a call may have: stretched dynamically, it is longer than the model's positions. */
export const longest = ({ maxPositionEmbeddings, ropeScaling }: LlamaConfig): number =>
  ropeScaling?.kind === "dynamic" ? Math.floor(ropeScaling.factor * maxPositionEmbeddings) : maxPositionEmbeddings;

export interface Placed {
  readonly rope: RopeTables | null;
  readonly positions: () => Tensor;
  /** The first key that a query sees without a window, and with the configuration's. */
  readonly starts: Tensor | null;
  readonly windowed: Tensor | null;
  /** What positions add to the scores, `[batch or 1, heads, 1, keys]`. */
  readonly bias: Tensor | null;
}

/** @throws ShapeError */
export function placed(
  config: LlamaConfig,
  { ids, segments, positions: given }: TokenInput,
  weight: Tensor,
  past: Continuation | undefined,
): Placed {
  const time = ids.dims[1] as Dim;
  for (const [name, t] of Object.entries({ segments, positions: given }))
    if (t && (t.dtype !== "i32" || String(t.dims) !== String(ids.dims)))
      throw new ShapeError(`llama: expected ${name} i32[${String(ids.dims)}], got ${t.dtype}[${String(t.dims)}]`);
  const slots = (): Tensor => past?.positions ?? iota([time], 0);
  const starts = segments ? documentStarts(segments) : null;
  const own = given ?? (starts ? sub(slots(), starts) : null);
  // Within a document a place and a position differ by the same for all keys, which changes no weight.
  const keys = (): Tensor => (past ? iota([past.caches[0]?.key.dims[2] ?? 0], 0) : (given ?? iota([time], 0)));
  const tables = (): RopeTables => {
    if (!own) return past?.rope ?? ropeTables(config, lengthOf(time), weight);
    // What a caller counts may be longer than the row.
    const whole = ropeTables(config, given ? config.maxPositionEmbeddings : lengthOf(time), weight);
    return { cos: expandDims(take(whole.cos, own), 1), sin: expandDims(take(whole.sin, own), 1) };
  };
  return {
    rope: config.position === "rotary" ? tables() : null,
    // Padding may lie behind the last position.
    positions: () => minimum(own ?? slots(), config.maxPositionEmbeddings - 1),
    starts,
    bias: config.position === "alibi" ? alibi(keys(), config.numAttentionHeads) : null,
    windowed: windowStarts(config, time, slots, starts, past !== undefined),
  };
}

/** For each token the place where its document begins. */
function documentStarts(segments: Tensor): Tensor {
  const place = iota(segments.dims, 1);
  const time = segments.dims[1] as number;
  if (time < 2) return mul(place, 0);
  const before = take(segments, maximum(sub(iota([time], 0), 1), 0), 1);
  return cummax(where(segments.equal(before), 0, place), 1);
}

function windowStarts(
  { slidingWindow: window }: LlamaConfig,
  time: Dim,
  slots: () => Tensor,
  starts: Tensor | null,
  continues: boolean,
): Tensor | null {
  if (window === null || (!continues && typeof time === "number" && time <= window)) return starts;
  const place = slots();
  const row = place.rank === 1 ? reshape(place, [1, time]) : place;
  const first = maximum(sub(row, window - 1), 0);
  return starts ? maximum(starts, first) : first;
}

/** Tables are made of numbers. */
function lengthOf(time: Dim): number {
  if (typeof time === "number") return time;
  throw new ShapeError("llama: a sequence of symbolic length needs tables of its positions", {
    hint: "give them as `past.rope`",
  });
}

/** The tables of positions 0 to `length` − 1, in the dtype of a weight. */
export function ropeTables(config: LlamaConfig, length: number, { dtype }: Tensor): RopeTables {
  // Where nothing turns the tables are not read, whatever a head's size.
  const size = config.position === "rotary" ? Math.floor(config.headDim * config.rotaryShare) : 2;
  const { frequencies, factor } = ropeFrequencies(config, size, length, config.maxPositionEmbeddings);
  const { cos, sin } = nn.ropeTables(length, size, { frequencies, dtype });
  return factor === 1 ? { cos, sin } : { cos: mul(cos, factor), sin: mul(sin, factor) };
}
