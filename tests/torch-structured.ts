/** PyTorch's structured operations in Sinan's words, by the names of `fixtures/structured`. */
import * as s from "../core/src/index.ts";
import type { Tensor } from "../core/src/index.ts";
import type { Attribute } from "./fixtures/load.ts";
import type { Operation } from "./torch-ops.ts";

const list = (a: Attribute | undefined): readonly number[] => a as readonly number[];
const int = (a: Attribute | undefined): number => a as number;

const along =
  (f: (x: Tensor, axis: number) => Tensor): Operation =>
  ([x], { axis }) =>
    f(x as Tensor, int(axis));

export const torchStructured: Readonly<Record<string, Operation>> = {
  cumsum: along(s.cumsum),
  cumprod: along(s.cumprod),
  cummax: along(s.cummax),
  cummin: along(s.cummin),
  logcumsumexp: along(s.logCumSumExp),
  std: ([x], { axes, correction }) => s.std(x as Tensor, list(axes), { correction: int(correction) }),
};
