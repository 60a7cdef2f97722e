/** What is known of a function beside its body: which other function it extends, a derivative that somebody wrote, what may be
 *  kept of its values for the backward pass. Functions made of it (mapped, differentiated) inherit what still holds. */
import type { Fn } from "../ir/fn.ts";
import type { Node } from "../ir/node.ts";

/** Which values of a function's body the backward pass finds saved; it computes the others again. */
export type Saves = (node: Node) => boolean;

/** A derivative that somebody wrote. */
export interface CustomRule {
  /** Parameters, what was kept, cotangents of the results → cotangents of all parameters. */
  readonly rule: Fn;
  /** Parameters → results, what is kept. Without it the results are. */
  readonly forward: Fn | undefined;
}

export const customRules = new WeakMap<Fn, CustomRule>();

/** Forward rules: parameters, results, tangents of the parameters → tangents of all results. */
export const customPushes = new WeakMap<Fn, Fn>();

/** Functions that say themselves what is kept of their values. */
export const rematerialised = new WeakMap<Fn, Saves>();

/** Which gradients of a function may wait, so that a call's backward pass is two, and what makes the two: a program that never asks
 *  for it is bundled without. */
export interface Waits {
  /** For each parameter, whether its gradient may wait. */
  readonly later: readonly boolean[];
  /** The results of `backward` by two calls; `later` says which of them may wait. */
  readonly call: (backward: Fn, name: string, later: readonly boolean[], args: readonly Node[]) => Node[];
}

export const waiting = new WeakMap<Fn, Waits>();

/** The function that another one computes and more: its first results are that function's. */
export const extended = new WeakMap<Fn, Fn>();
