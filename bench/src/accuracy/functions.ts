/** The functions whose errors are swept: what we compute, and its reference in double precision. */
import { cos, erf, exp, expm1, log, log1p, nn, rsqrt, sin, sqrt, tanh, type Tensor } from "sinan";
import { erf as exactErf } from "./erf.ts";

export interface Swept {
  readonly ours: (x: Tensor) => Tensor;
  /** V8 has fdlibm's functions, within an ulp of a double: 2⁻²⁹ of one of ours. */
  readonly exact: (x: number) => number;
  /** f(−x) by f(x): half of the references are then enough. */
  readonly symmetry?: "odd" | "even";
}

export const functions: Readonly<Record<string, Swept>> = {
  exp: { ours: exp, exact: Math.exp },
  log: { ours: log, exact: Math.log },
  sin: { ours: sin, exact: Math.sin, symmetry: "odd" },
  cos: { ours: cos, exact: Math.cos, symmetry: "even" },
  tanh: { ours: tanh, exact: Math.tanh, symmetry: "odd" },
  erf: { ours: erf, exact: exactErf, symmetry: "odd" },
  sigmoid: { ours: nn.sigmoid, exact: (x) => 1 / (1 + Math.exp(-x)) },
  softplus: { ours: nn.softplus, exact: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))) },
  expm1: { ours: expm1, exact: Math.expm1 },
  log1p: { ours: log1p, exact: Math.log1p },
  sqrt: { ours: sqrt, exact: Math.sqrt },
  rsqrt: { ours: rsqrt, exact: (x) => 1 / Math.sqrt(x) },
};
