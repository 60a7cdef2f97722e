/** The loss of a language model: the mean cross entropy of the next tokens. Logits of all positions are by far the largest tensors of a
 *  step where the vocabulary is large, so there they are made for a few positions at a time, and again in the backward pass. */

import {
  add,
  ArgumentError,
  concat,
  data,
  div,
  equal,
  full,
  mul,
  nn,
  remat,
  reshape,
  scan,
  ShapeError,
  sum,
  type Tensor,
  tensor,
  where,
  zeros,
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
   *  it all. The peak of memory falls by most of two times the logits, and the output layer's forward product is made twice. */
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
  const stacked: Chunk = {
    x: cut(x, [parts.config.hiddenSize]),
    targets: cut(targets, []),
    weights: given && cut(given, []),
  };
  const step = (total: Tensor, c: Chunk): readonly [Tensor, null] => [
    add(total, again(parts, c.x, c.targets, c.weights).cast(total.dtype)),
    null,
  ];
  return scan(step, tensor(0, { dtype: x.dtype === "f64" ? "f64" : "f32" }), stacked)[0];
}

interface Chunk {
  readonly x: Tensor;
  readonly targets: Tensor;
  readonly weights: Tensor | null;
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

/** The same, computed again in the backward pass. */
const again = remat(ofPositions, { name: "logits" });
