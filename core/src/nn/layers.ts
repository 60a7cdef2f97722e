/** The layers: modules around `functional.ts`. Weights have PyTorch's shapes and names. */
import { ArgumentError } from "../errors.ts";
import type { DType } from "../ir/dtype.ts";
import type { Tensor } from "../tensor/index.ts";
import { type Context, keyOf } from "./context.ts";
import * as functional from "./functional.ts";
import { fanInUniform, type Initializer, normal, ones, uniform, zeros } from "./initializers.ts";
import { type Built, type Layer, type Module, module, type Parameter, parameter } from "./module.ts";

interface DTypeOption {
  /** f32 or f64. */
  readonly dtype?: DType;
}

const size = (layer: string, name: string, value: number): number => {
  if (!Number.isSafeInteger(value) || value < 1)
    throw new ArgumentError(`${layer}: expected ${name} to be a whole number of at least 1, got ${value}`);
  return value;
};

/** An affine map with its weight and bias. */
export type Linear = Module<Tensor, Tensor, { readonly weight: Parameter; readonly bias: Parameter | null }>;

/** x · weightᵀ + bias: `[..., in]` → `[..., out]`, weight `[out, in]`, bias `[out]`. Both begin uniform within ±1/√in.
 *  @throws ArgumentError
 *  @example const layer = nn.linear(784, 128).init(key(0)); */
export function linear(
  inputs: number,
  outputs: number,
  {
    bias = true,
    initializer = fanInUniform,
    ...options
  }: DTypeOption & { readonly bias?: boolean; readonly initializer?: Initializer } = {},
): Linear {
  const bound = 1 / Math.sqrt(size("linear", "inputs", inputs));
  return module(
    "linear",
    {
      weight: parameter([size("linear", "outputs", outputs), inputs], initializer, options),
      bias: bias ? parameter([outputs], uniform({ low: -bound, high: bound }), options) : null,
    },
    linearForward,
  );
}

const linearForward = (
  { weight, bias }: { readonly weight: Tensor; readonly bias: Tensor | null },
  x: Tensor,
): Tensor => functional.linear(x, weight, bias);

/** A table of rows. */
export type Embedding = Module<Tensor, Tensor, { readonly weight: Parameter }>;

/** Rows of a table: ids `[...]` → `[..., dim]`, weight `[count, dim]`, which begins standard normal.
 *  @throws ArgumentError
 *  @example const tokens = nn.embedding(1024, 256).init(key(0)); */
export const embedding = (
  count: number,
  dim: number,
  { initializer = normal(), ...options }: DTypeOption & { readonly initializer?: Initializer } = {},
): Embedding =>
  module(
    "embedding",
    { weight: parameter([size("embedding", "count", count), size("embedding", "dim", dim)], initializer, options) },
    embeddingForward,
  );

const embeddingForward = ({ weight }: { readonly weight: Tensor }, ids: Tensor): Tensor =>
  functional.embedding(ids, weight);

/** Root-mean-square norm with its scale. */
export type RmsNorm = Module<Tensor, Tensor, { readonly weight: Parameter; readonly epsilon: number }>;

/** Root-mean-square norm over the last axis, weight `[dim]`; see `functional.rmsNorm`. */
export const rmsNorm = (
  dim: number,
  { epsilon = 1e-5, ...options }: DTypeOption & { readonly epsilon?: number } = {},
): RmsNorm =>
  module("rmsNorm", { weight: parameter([size("rmsNorm", "dim", dim)], ones, options), epsilon }, rmsNormForward);

const rmsNormForward = (
  { weight, epsilon }: { readonly weight: Tensor; readonly epsilon: number },
  x: Tensor,
): Tensor => functional.rmsNorm(x, weight, { epsilon });

/** Layer norm with its scale and offset. */
export type LayerNorm = Module<
  Tensor,
  Tensor,
  { readonly weight: Parameter; readonly bias: Parameter | null; readonly epsilon: number }
>;

/** Layer norm over the last axis, weight and bias `[dim]`; see `functional.layerNorm`. */
export const layerNorm = (
  dim: number,
  {
    epsilon = 1e-5,
    bias = true,
    ...options
  }: DTypeOption & { readonly epsilon?: number; readonly bias?: boolean } = {},
): LayerNorm =>
  module(
    "layerNorm",
    {
      weight: parameter([size("layerNorm", "dim", dim)], ones, options),
      bias: bias ? parameter([dim], zeros, options) : null,
      epsilon,
    },
    layerNormForward,
  );

const layerNormForward = (
  { weight, bias, epsilon }: Built<{ weight: Parameter; bias: Parameter | null; epsilon: number }>,
  x: Tensor,
): Tensor => functional.layerNorm(x, weight, bias, { epsilon });

/** A layer that drops elements in training. */
export type Dropout = Module<Tensor, Tensor, { readonly probability: number }>;

/** Sets elements to 0 with the given probability where the context trains; elsewhere the identity. Draws from the context's key and
 *  its own path.
 *  @throws ArgumentError unless 0 ≤ probability < 1; when called, if the context trains and has no key */
export function dropout(probability: number): Dropout {
  functional.checkProbability(probability);
  return module("dropout", { probability }, dropoutForward);
}

const dropoutForward = ({ probability }: { readonly probability: number }, x: Tensor, ctx: Context): Tensor =>
  ctx.train && probability > 0 ? functional.dropout(x, probability, keyOf(ctx, "dropout"), ctx.examples) : x;

/** Layers one after another. */
export type Sequential<L extends readonly Layer[]> = Module<Tensor, Tensor, { readonly layers: L }>;

/** Layers one after another; plain functions of a tensor are layers too.
 *  @example const model = nn.sequential(nn.linear(784, 128), nn.relu, nn.linear(128, 10)).init(key(0)); model.layers[0].weight */
export const sequential = <const L extends readonly Layer[]>(...layers: L): Sequential<L> =>
  module("sequential", { layers }, sequentialForward) as Sequential<L>;

const sequentialForward = ({ layers }: { readonly layers: readonly Layer[] }, x: Tensor, ctx: Context): Tensor =>
  layers.reduce((h, layer) => layer(h, ctx), x);
