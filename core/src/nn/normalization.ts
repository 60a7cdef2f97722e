/** Norms over channels: of each batch, and of groups in each example. Parameters have PyTorch's shapes and names. Inputs of 16 bits are
 *  normalised in f32, whose squares do not overflow. */
import { ArgumentError, ShapeError } from "../errors.ts";
import type { Dim } from "../ir/dim.ts";
import { carrierOf, type DType } from "../ir/dtype.ts";
import { typeText } from "../ir/type.ts";
import { add, cast, mean, mul, neg, reshape, rsqrt, square, stopGradient, sub, type Tensor } from "../tensor/index.ts";
import { type Context, joinPath } from "./context.ts";
import { ones, zeros } from "./initializers.ts";
import { type Built, type Module, module, type Parameter, parameter } from "./module.ts";
import { namedParameters, withParameters } from "./parameters.ts";

const channelsOf = (layer: string, x: Tensor, channels: number): number[] => {
  if (x.rank < 2 || x.dims[1] !== channels)
    throw new ShapeError(`${layer}: expected [batch, ${channels}, ...], got ${typeText(x.type)}`);
  return x.dims.map((_, a) => (a === 1 ? channels : 1));
};

type BatchNormParts = Readonly<Record<string, unknown>> & {
  readonly weight: Parameter | null;
  readonly bias: Parameter | null;
  readonly running_mean: Parameter;
  readonly running_var: Parameter;
  readonly channels: number;
  readonly epsilon: number;
  readonly momentum: number;
};

/** Batch norm with its scale, offset and running statistics. */
export type BatchNorm = Module<Tensor, Tensor, BatchNormParts>;

/** Epsilon, the momentum of the running statistics, and whether there is a scale and an offset. */
export interface BatchNormOptions {
  readonly epsilon?: number;
  /** The share of the new batch in the running statistics. */
  readonly momentum?: number;
  /** Whether it scales and shifts. */
  readonly affine?: boolean;
  readonly dtype?: DType;
}

/** Batch norm: `(x − mean) / sqrt(variance + epsilon) · weight + bias` for each channel of `[batch, channels, ...]`. In training mean
 *  and variance are the batch's, and the new running ones go into `ctx.updates`, if that is there; elsewhere they are
 *  `running_mean` and `running_var`, which have no gradient. 16-bit input is normed in f32.
 *  @see Ioffe & Szegedy 2015, arXiv:1502.03167
 *  @example
 *  const updates = {};
 *  const y = model(x, { train: true, updates });     // inside of a transform: return updates as well
 *  const next = nn.withUpdates(model, updates); */
export function batchNorm(
  channels: number,
  { epsilon = 1e-5, momentum = 0.1, affine = true, dtype = "f32" }: BatchNormOptions = {},
): BatchNorm {
  const parts: BatchNormParts = {
    weight: affine ? parameter([channels], ones, { dtype }) : null,
    bias: affine ? parameter([channels], zeros, { dtype }) : null,
    running_mean: parameter([channels], zeros, { dtype }),
    running_var: parameter([channels], ones, { dtype }),
    channels,
    epsilon,
    momentum,
  };
  return module("batchNorm", parts, batchNormForward);
}

function batchNormForward(self: Built<BatchNormParts>, x: Tensor, ctx: Context): Tensor {
  const { weight, bias, running_mean, running_var, channels, epsilon, momentum } = self;
  const dims = channelsOf("batchNorm", x, channels);
  const across = x.dims.flatMap((_, a) => (a === 1 ? [] : [a]));
  const wide = cast(x, carrierOf(x.dtype));
  let [center, spread] = [stopGradient(running_mean), stopGradient(running_var)];
  if (ctx.train) {
    center = mean(wide, across);
    spread = mean(square(sub(wide, reshape(center, dims))), across);
    if (ctx.updates) {
      const count = x.size / channels;
      const kept = (old: Tensor, now: Tensor): Tensor =>
        stopGradient(cast(add(mul(old, 1 - momentum), mul(now, momentum)), old.dtype));
      // Running variances are those of samples, as PyTorch keeps them.
      const sampled = mul(spread, count / Math.max(count - 1, 1));
      ctx.updates[joinPath(ctx.path ?? "", "running_mean")] = kept(running_mean, center);
      ctx.updates[joinPath(ctx.path ?? "", "running_var")] = kept(running_var, sampled);
    }
  }
  const inverse = rsqrt(add(spread, epsilon));
  if (!ctx.train && x.dtype === wide.dtype) {
    // Of statistics that stay a factor and an offset of each channel are all there is to do.
    const factor = weight ? mul(inverse, weight) : inverse;
    const offset = bias ? sub(bias, mul(center, factor)) : neg(mul(center, factor));
    return add(mul(x, reshape(factor, dims)), reshape(offset, dims));
  }
  const y = cast(mul(sub(wide, reshape(center, dims)), reshape(inverse, dims)), x.dtype);
  const scaled = weight ? mul(y, reshape(weight, dims)) : y;
  return bias ? add(scaled, reshape(bias, dims)) : scaled;
}

/** The model with the updates that its layers left in `ctx.updates`.
 *  @throws TreeError for a path that the model does not have */
export const withUpdates = <M>(model: M, updates: Readonly<Record<string, Tensor>>): M =>
  withParameters(model, { ...namedParameters(model), ...updates });

type GroupNormParts = Readonly<Record<string, unknown>> & {
  readonly weight: Parameter | null;
  readonly bias: Parameter | null;
  readonly groups: number;
  readonly channels: number;
  readonly epsilon: number;
};

/** Group norm with its scale and offset. */
export type GroupNorm = Module<Tensor, Tensor, GroupNormParts>;

/** Group norm: mean and variance over each group of channels of each example of `[batch, channels, ...]`, then weight and bias for each
 *  channel. One group is a layer norm over all, as many as channels an instance norm.
 *  @throws ArgumentError unless the channels are `groups` equal groups
 *  @see Wu & He 2018, arXiv:1803.08494
 *  @example const layer = nn.groupNorm(4, 16).init(key(0)); */
export function groupNorm(
  groups: number,
  channels: number,
  { epsilon = 1e-5, affine = true, dtype = "f32" }: Omit<BatchNormOptions, "momentum"> = {},
): GroupNorm {
  if (!Number.isSafeInteger(groups) || groups < 1 || channels % groups !== 0)
    throw new ArgumentError(`groupNorm: ${channels} channels are not ${groups} equal groups`);
  const parts: GroupNormParts = {
    weight: affine ? parameter([channels], ones, { dtype }) : null,
    bias: affine ? parameter([channels], zeros, { dtype }) : null,
    groups,
    channels,
    epsilon,
  };
  return module("groupNorm", parts, groupNormForward);
}

function groupNormForward({ weight, bias, groups, channels, epsilon }: Built<GroupNormParts>, x: Tensor): Tensor {
  const dims = channelsOf("groupNorm", x, channels);
  const grouped = reshape(cast(x, carrierOf(x.dtype)), [x.dims[0] as Dim, groups, -1]);
  const centred = sub(grouped, mean(grouped, 2, { keepDims: true }));
  const scale = rsqrt(add(mean(square(centred), 2, { keepDims: true }), epsilon));
  const y = cast(reshape(mul(centred, scale), x.dims), x.dtype);
  const scaled = weight ? mul(y, reshape(weight, dims)) : y;
  return bias ? add(scaled, reshape(bias, dims)) : scaled;
}
