/** PyTorch's further element-wise operations in Sinan's words, by the names of `fixtures/elementwise`. */
import * as s from "../core/src/index.ts";
import { nn, type Tensor } from "../core/src/index.ts";
import type { Operation } from "./torch-ops.ts";

const one =
  (f: (x: Tensor) => Tensor): Operation =>
  ([x]) =>
    f(x as Tensor);
const two =
  (f: (a: Tensor, b: Tensor) => Tensor): Operation =>
  ([a, b]) =>
    f(a as Tensor, b as Tensor);

export const torchElementwise: Readonly<Record<string, Operation>> = {
  expm1: one(s.expm1),
  log1p: one(s.log1p),
  exp2: one(s.exp2),
  log2: one(s.log2),
  log10: one(s.log10),
  tan: one(s.tan),
  asin: one(s.asin),
  acos: one(s.acos),
  atan: one(s.atan),
  sinh: one(s.sinh),
  cosh: one(s.cosh),
  asinh: one(s.asinh),
  acosh: one(s.acosh),
  atanh: one(s.atanh),
  erfc: one(s.erfc),
  frac: one(s.frac),
  reciprocal: one(s.reciprocal),
  logit: one(s.logit),
  isinf: one(s.isInf),
  isnan: one(s.isNan),
  isfinite: one(s.isFinite),
  signbit: one(s.signBit),
  nan_to_num: one((x) => s.nanToNum(x, { nan: 2, posInf: 7, negInf: -8 })),
  atan2: two(s.atan2),
  hypot: two(s.hypot),
  copysign: two(s.copySign),
  logaddexp: two(s.logAddExp),
  xlogy: two(s.xlogy),
  fmod: two(s.fmod),
  lerp: ([a, b, w]) => s.lerp(a as Tensor, b as Tensor, w as Tensor),
  isclose: two(s.isClose),
  any_logical_and: two(s.logicalAnd),
  any_logical_or: two(s.logicalOr),
  any_logical_xor: two(s.logicalXor),
  any_logical_not: one(s.logicalNot),
  nn_sigmoid: one(nn.sigmoid),
  nn_softplus: one(nn.softplus),
  nn_silu: one(nn.silu),
  nn_gelu: one(nn.gelu),
  nn_gelu_tanh: one(nn.geluTanh),
  nn_tanh: one(s.tanh),
  norm: one((x) => s.norm(x)),
  truncate_divide: two(s.truncDivide),
  bitwise_and: two(s.and),
  bitwise_or: two(s.or),
  bitwise_xor: two(s.xor),
  bitwise_not: one(s.not),
  shift_left: two(s.shiftLeft),
  shift_right: two(s.shiftRight),
};
