/** What kernels may call. Workers get these functions as text: each stands for itself, naming nothing outside of it. */

import { erf } from "sinan/south";

/** C's rules rather than JavaScript's: 1 to any power is 1, and so is −1 to an infinite one. */
export function pow(a: number, b: number): number {
  return a === 1 || (a === -1 && Math.abs(b) === Number.POSITIVE_INFINITY) ? 1 : a ** b;
}

/** The remainder with the divisor's sign. */
export function fmod(a: number, b: number): number {
  const rest = a % b;
  return rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest;
}

export const math = { exp: Math.exp, log: Math.log, sin: Math.sin, cos: Math.cos, tanh: Math.tanh, erf, pow, fmod };

/** The same as an expression in JavaScript. */
export const mathText = (): string => `{
  exp: Math.exp, log: Math.log, sin: Math.sin, cos: Math.cos, tanh: Math.tanh,
  erf: ${erf.toString()},
  pow: ${pow.toString()},
  fmod: ${fmod.toString()},
}`;
