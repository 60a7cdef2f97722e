/** PyTorch's structured operations in Sinan's words, by the names of `fixtures/structured`. */
import * as s from "../core/src/index.ts";
import type { Tensor } from "../core/src/index.ts";
import type { Attribute } from "./fixtures/load.ts";
import type { Operation } from "./torch-ops.ts";

const list = (a: Attribute | undefined): readonly number[] => a as readonly number[];
const int = (a: Attribute | undefined): number => a as number;

const per = (a: Attribute | undefined): s.PerAxis => a as s.PerAxis;

const along =
  (f: (x: Tensor, axis: number) => Tensor): Operation =>
  ([x], { axis }) =>
    f(x as Tensor, int(axis));

/** The layer for x with some of its parameters given. */
function batchNorm(x: Tensor, parts: Readonly<Record<string, Tensor>>): s.nn.BatchNorm {
  const layer = s.nn.batchNorm(x.shape[1] as number, { dtype: x.dtype }).init(s.key(0));
  return s.nn.withUpdates(layer, parts);
}

export const torchStructured: Readonly<Record<string, Operation>> = {
  cumsum: along(s.cumsum),
  cumprod: along(s.cumprod),
  cummax: along(s.cummax),
  cummin: along(s.cummin),
  logcumsumexp: along(s.logCumSumExp),
  take_along: ([x, i], { axis }) => s.takeAlongAxis(x as Tensor, i as Tensor, int(axis)),
  put_along: ([x, i, u], { axis, mode }) =>
    s.putAlongAxis(x as Tensor, i as Tensor, u as Tensor, int(axis), { mode: mode as s.PutMode }),
  take_at: ([x, ...i], { outside = "fill" }) => s.takeAt(x as Tensor, i, { outside: outside as s.Outside }),
  put_at: ([x, i, j, u], { mode }) =>
    s.putAt(x as Tensor, [i as Tensor, j as Tensor], u as Tensor, { mode: mode as s.PutMode }),
  searchsorted: ([sorted, values], { right }) =>
    s.searchSorted(sorted as Tensor, values as Tensor, { right: right === true }),
  sort: ([x], { axis, descending }) => s.sort(x as Tensor, int(axis), { descending: descending === true }).values,
  argsort: ([x], { axis, descending }) => s.argsort(x as Tensor, int(axis), { descending: descending === true }),
  topk: ([x], { k, axis, largest }) => s.topK(x as Tensor, int(k), int(axis), { largest: largest === true }).values,
  conv: ([x, w], { stride, padding, dilation, groups }) =>
    s.conv(x as Tensor, w as Tensor, {
      stride: per(stride),
      padding: per(padding),
      dilation: per(dilation),
      groups: int(groups),
    }),
  conv_transpose: ([x, w], { stride, padding, outputPadding, dilation, groups }) =>
    s.convTranspose(x as Tensor, w as Tensor, {
      stride: per(stride),
      padding: per(padding),
      outputPadding: per(outputPadding),
      dilation: per(dilation),
      groups: int(groups),
    }),
  max_pool: ([x], { size, stride, padding, dilation }) =>
    s.maxPool(x as Tensor, per(size), { stride: per(stride), padding: per(padding), dilation: per(dilation) }),
  avg_pool: ([x], { size, stride, padding, countPadding }) =>
    s.avgPool(x as Tensor, per(size), {
      stride: per(stride),
      padding: per(padding),
      countPadding: countPadding === true,
    }),
  batch_norm: ([x, weight, bias]) => {
    const layer = batchNorm(x as Tensor, { weight: weight as Tensor, bias: bias as Tensor });
    return layer(x as Tensor, { train: true });
  },
  batch_norm_still: ([x, weight, bias, running_mean, running_var]) => {
    const parts = { weight, bias, running_mean, running_var } as Record<string, Tensor>;
    return batchNorm(x as Tensor, parts)(x as Tensor);
  },
  batch_norm_running: ([x, running_mean, running_var]) => {
    const updates: Record<string, Tensor> = {};
    const layer = batchNorm(x as Tensor, { running_mean, running_var } as Record<string, Tensor>);
    layer(x as Tensor, { train: true, updates });
    const next = s.nn.withUpdates(layer, updates);
    return s.stack([next.running_mean, next.running_var]);
  },
  group_norm: ([x, weight, bias], { groups }) => {
    const layer = s.nn.groupNorm(int(groups), (x as Tensor).shape[1] as number, { dtype: (x as Tensor).dtype });
    return s.nn.withParameters(layer, { weight: weight as Tensor, bias: bias as Tensor })(x as Tensor);
  },
  std: ([x], { axes, correction }) => s.std(x as Tensor, list(axes), { correction: int(correction) }),
};
