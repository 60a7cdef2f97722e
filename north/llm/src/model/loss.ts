/** The loss of a language model: the mean cross entropy of the next tokens. Logits of all positions are by far the largest tensors of a
 *  step where the vocabulary is large, so there they are made for a few positions at a time, and what they mean for the gradients is
 *  worked out while they are there (Hsu et al. 2024, "Liger Kernel", arXiv:2410.10989, §3.2): none is kept, none is made twice. */

import {
  add,
  ArgumentError,
  concat,
  customVjp,
  data,
  div,
  equal,
  full,
  mul,
  nn,
  reshape,
  scan,
  ShapeError,
  sum,
  type Tensor,
  tree,
  valueAndGrad,
  where,
  zeros,
  zerosLike,
} from "sinan";
import type { LlamaConfig } from "../config.ts";
import { head, type HeadParts, type Llama, trunk } from "./llama.ts";
import type { TokenInput } from "./positions.ts";

/** How targets count, and how many logits are there at once. */
export interface LossOptions {
  /** How much each target counts, f32 `[batch, time]`: the loss is Σ weight · nats / Σ weight. Where a weight is 0 the target may be
   *  anything, as in padding; targets of `data.ignoreIndex` are none either. */
  readonly weights?: Tensor | undefined;
  /** "sum" is Σ weight · nats, for those who divide by a sum over several batches. Default: "mean". */
  readonly reduction?: "mean" | "sum";
  /** Positions whose logits are there at once; `false` for all. By default as many as make 16 MiB from a vocabulary of 16,384 on, below
   *  it all. The peak of memory falls by most of two times the logits. */
  readonly chunk?: number | false | undefined;
}

const largeVocabulary = 2 ** 14;
const chunkElements = 2 ** 22;

/** The mean cross entropy, in nats, of `targets` i32 `[batch, time]` after `inputs` of that shape.
 *  @throws ShapeError, ArgumentError
 *  @example loss(model, ids.at(slice(), slice(0, -1)), ids.at(slice(), slice(1)), { train: true, key }) */
export function loss(
  model: Llama,
  inputs: Tensor | TokenInput,
  targets: Tensor,
  ctx: nn.Context = { train: false },
  { weights, reduction = "mean", chunk }: LossOptions = {},
): Tensor {
  const { dims } = "ids" in inputs ? inputs.ids : inputs;
  for (const [name, t] of Object.entries({ targets, weights }))
    if (t && String(t.dims) !== String(dims))
      throw new ShapeError(`loss: expected ${name} [${String(dims)}], got ${t.dtype}[${String(t.dims)}]`);
  const { x } = trunk(model, inputs, ctx);
  // An embedding that is not the output layer is none of its arguments: it would be given a gradient of zeros.
  const parts: HeadParts = {
    config: model.config,
    model: model.lm_head ? null : { embed_tokens: model.model.embed_tokens },
    lm_head: model.lm_head,
  };
  const most = chunkOf(model.config, targets, chunk);
  if (most === null && !weights) return nn.crossEntropy(wideLogits(parts, x), targets, { reduction });
  const total =
    most === null ? ofPositions(parts, x, targets, weights ?? null) : inChunks(parts, x, targets, weights, most);
  if (reduction === "sum") return total;
  return div(total, weights ? sum(weights) : targets.size);
}

/** Positions at once; null for all. */
function chunkOf({ vocabSize }: LlamaConfig, targets: Tensor, chunk: LossOptions["chunk"]): number | null {
  if (chunk !== undefined && chunk !== false && (!Number.isInteger(chunk) || chunk < 1))
    throw new ArgumentError(`loss: chunk: expected a whole number of positions, or false, got ${chunk}`);
  const isStatic = targets.dims.every((d) => typeof d === "number");
  const isLarge = vocabSize >= largeVocabulary && isStatic;
  const most = chunk ?? (isLarge && Math.max(32, Math.floor(chunkElements / vocabSize)));
  return most === false || targets.size <= most ? null : most;
}

/** Σ weight · nats, chunk after chunk. */
function inChunks(parts: HeadParts, x: Tensor, targets: Tensor, weights: Tensor | undefined, most: number): Tensor {
  const count = Math.ceil(targets.size / most);
  const rows = Math.ceil(targets.size / count);
  const padding = count * rows - targets.size;
  const given = weights ?? (padding > 0 ? full([targets.size], 1) : null);
  /** Flat, with rows that count nothing behind, in as many parts as there are. */
  const cut = (t: Tensor, inner: readonly number[]): Tensor => {
    const flat = reshape(t, [targets.size, ...inner]);
    const padded = padding === 0 ? flat : concat([flat, zeros([padding, ...inner], { dtype: t.dtype })], 0);
    return reshape(padded, [count, rows, ...inner]);
  };
  return ofChunks(parts, cut(x, [parts.config.hiddenSize]), cut(targets, []), given && cut(given, []));
}

interface Chunk {
  readonly x: Tensor;
  readonly targets: Tensor;
  readonly weights: Tensor | null;
}

/** What a gradient is asked of. */
interface Moving {
  readonly parts: readonly Tensor[];
  readonly x: Tensor;
  readonly weights: Tensor | null;
}

const start = (x: Tensor): Tensor => zeros([], { dtype: x.dtype === "f64" ? "f64" : "f32" });

/** The sum over stacked chunks. Its forward pass, where a gradient is asked for, has the gradients too; they wait for the cotangent. */
const ofChunks = customVjp(
  (parts: HeadParts, x: Tensor, targets: Tensor, weights: Tensor | null): Tensor =>
    scan(
      (total: Tensor, c: Chunk) => [add(total, ofPositions(parts, c.x, c.targets, c.weights).cast(total.dtype)), null],
      start(x),
      { x, targets, weights },
    )[0],
  (g, kept: Moving, parts) => {
    const times = (t: Tensor): Tensor => mul(t, g.cast(t.dtype));
    const { x, weights } = tree.map(times, { x: kept.x, weights: kept.weights });
    return [withFloats(parts, kept.parts.map(times)), x, null, weights];
  },
  {
    name: "logits",
    forward: (parts, x, targets, weights) => {
      const floats = tree.tensors(parts).flatMap(({ tensor: t }) => (isFloat(t) ? [t] : []));
      const step = (
        [total, sums]: readonly [Tensor, readonly Tensor[]],
        c: Chunk,
      ): readonly [readonly [Tensor, readonly Tensor[]], Omit<Moving, "parts">] => {
        const [value, moved] = valueAndGrad((m: Moving) =>
          ofPositions(withFloats(parts, m.parts), m.x, c.targets, m.weights),
        )({ parts: floats, x: c.x, weights: c.weights });
        return [
          [add(total, value.cast(total.dtype)), tree.map(add, sums, moved.parts)],
          { x: moved.x, weights: moved.weights },
        ];
      };
      const [[total, sums], moved] = scan(step, [start(x), floats.map((t) => zerosLike(t))], { x, targets, weights });
      return [total, { parts: sums, ...moved }];
    },
  },
);

const isFloat = (t: Tensor): boolean => ["f64", "f32", "f16", "bf16"].includes(t.dtype);

/** The parts with other tensors for those that have gradients: weights in blocks have none. */
function withFloats(parts: HeadParts, floats: readonly Tensor[]): HeadParts {
  let i = 0;
  return tree.map((t) => (isFloat(t) ? (floats[i++] ?? t) : t), parts);
}

/** Logits of 16 bits are wide enough to be made, not to be summed. */
function wideLogits(parts: HeadParts, x: Tensor): Tensor {
  const logits = head(parts, x);
  return logits.dtype === "bf16" || logits.dtype === "f16" ? logits.cast("f32") : logits;
}

/** Σ weight · nats of some positions. */
function ofPositions(parts: HeadParts, x: Tensor, targets: Tensor, weights: Tensor | null): Tensor {
  const logits = wideLogits(parts, x);
  if (!weights) return nn.crossEntropy(logits, targets, { reduction: "sum" });
  const each = nn.crossEntropy(logits, targets, { reduction: "none", ignoreIndex: data.ignoreIndex });
  return sum(where(equal(weights, 0), 0, mul(each, weights)));
}
