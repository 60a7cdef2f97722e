/** AdamW: Adam with weight decay apart from the gradient. */
import type { DType } from "../ir/dtype.ts";
import { add, cast, div, mul, region, sqrt, sub, tanh, type Tensor } from "../tensor/index.ts";
import { checkGroups, type ParameterGroup, type Settings, settingsOf } from "./groups.ts";
import {
  checkRange,
  checkRate,
  type Decay,
  decayMatrices,
  firstStep,
  type Freezing,
  mapParameters,
  type Overrides,
  type Rate,
  type State,
  widened,
  zerosOf,
} from "./optimizer.ts";

/** The settings of `adamW`. */
export interface AdamWOptions {
  /** 1e-3 by default; `update` may be given the rate of its step. */
  readonly learningRate?: Rate;
  readonly betas?: readonly [number, number];
  /** Added to the root of the corrected second moment. */
  readonly epsilon?: number;
  readonly weightDecay?: number;
  /** Which parameters decay; by default those with two or more axes. */
  readonly decay?: Decay;
  /** Parameters with settings of their own; of several groups that match one, the first counts. */
  readonly groups?: readonly ParameterGroup[];
}

/** What the parameters of one dtype and group have in common in a step. */
interface Scalars {
  readonly shrink: Tensor | null;
  readonly size: Tensor;
  readonly root: Tensor;
}

/** The model with the running means of its gradients. */
export interface AdamWState<M> extends State<M> {
  /** The running means of the gradient and of its square, trees like the model. */
  readonly m: M;
  readonly v: M;
}

/** What `adamW` gives: a state from a model, and the next state from gradients. */
export interface AdamW extends Freezing {
  /** The state before the first step.
   *  @param model  a tree of float tensors; means of 16-bit ones are f32
   *  @throws ArgumentError if a group has no parameter */
  init<M>(model: M): AdamWState<M>;
  /** The state after a step; further fields of the state are kept.
   *  @param grads  a tree like the model
   *  @throws TreeError where the trees differ */
  update<M, S extends AdamWState<M>>(state: S & AdamWState<M>, grads: M, overrides?: Overrides): S;
}

/** Step t, for a gradient g of a parameter p:
 *
 *    p ← p (1 − rate · decay);  m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²
 *    p ← p − rate · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
 *
 *  @throws ArgumentError for an option outside its range
 *  @see Loshchilov & Hutter 2017, arXiv:1711.05101, algorithm 2, with the decay scaled by the rate as PyTorch has it
 *  @example
 *  const adam = optim.adamW({ learningRate: 3e-4 });
 *  const step = jit(({ state, x, y, rate }) => adam.update(state, grad(loss)(state.model, x, y), { learningRate: rate })); */
export function adamW({
  learningRate = 1e-3,
  betas = [0.9, 0.999],
  epsilon = 1e-8,
  weightDecay = 0.01,
  decay = decayMatrices,
  groups = [],
}: AdamWOptions = {}): AdamW {
  checkRate("adamW", learningRate);
  betas.forEach((beta, i) => checkRange("adamW", `betas[${i}]`, beta, 1));
  checkRange("adamW", "epsilon", epsilon);
  checkRange("adamW", "weightDecay", weightDecay);
  const [beta1, beta2] = betas;
  const settings = settingsOf("adamW", groups, (path, p) => ({ weightDecay: decay(path, p) ? weightDecay : 0 }));
  const isFrozen = (path: string, p: Tensor): boolean => settings(path, p).frozen;
  // Parameters of one shape share the work of compiling. What comes of the rate and the step's number is made once, outside.
  const updated = region(
    (stored: Tensor, mean: Tensor, square: Tensor, raw: Tensor, shrink: Tensor | null, size: Tensor, root: Tensor) => {
      const [p, g] = [widened(stored), widened(raw)];
      const m = add(mul(mean, beta1), mul(g, 1 - beta1));
      const v = add(mul(square, beta2), mul(mul(g, g), 1 - beta2));
      const kept = shrink ? mul(p, shrink) : p;
      const next = sub(kept, mul(size, div(m, add(div(sqrt(v), root), epsilon))));
      return { p: cast(next, stored.dtype), m, v };
    },
    { name: "adamW" },
  );
  return {
    isFrozen,
    init: (model) => {
      checkGroups("adamW", groups, model);
      return { model, step: firstStep(), m: zerosOf(model, isFrozen), v: zerosOf(model, isFrozen) };
    },
    update: (state, grads, overrides = {}) => {
      const rate = checkRate("adamW", overrides.learningRate ?? learningRate);
      const step = add(state.step, 1);
      const scalars = new Map<string, Scalars>();
      const scalarsOf = (dtype: DType, { rateScale, weightDecay }: Settings): Scalars => {
        const name = `${dtype} ${rateScale} ${weightDecay}`;
        let known = scalars.get(name);
        if (!known) {
          const t = cast(step, dtype);
          const own = rateScale === 1 ? rate : mul(rate, rateScale);
          const shrink = weightDecay > 0 ? cast(sub(1, mul(own, weightDecay)), dtype) : null;
          known = { shrink, size: div(own, correction(beta1, t)), root: sqrt(correction(beta2, t)) };
          scalars.set(name, known);
        }
        return known;
      };
      const moments = new Map<string, { readonly m: Tensor; readonly v: Tensor }>();
      const model = mapParameters(
        (path, p, mean, square, g) => {
          const own = settings(path, p);
          if (own.frozen) return p;
          const { shrink, size, root } = scalarsOf(mean.dtype, own);
          const next = updated(p, mean, square, g, shrink, size, root);
          moments.set(path, next);
          return next.p;
        },
        state.model,
        state.m,
        state.v,
        grads,
      );
      const m = mapParameters((path, mean) => moments.get(path)?.m ?? mean, state.m);
      const v = mapParameters((path, square) => moments.get(path)?.v ?? square, state.v);
      return { ...state, model, step, m, v };
    },
  };
}

/** 1 − βᵗ as 2h / (1 + h) with h = tanh(−t ln β / 2): 1 − 0.999 in f32 would have five digits. */
function correction(beta: number, t: Tensor): Tensor {
  if (beta === 0) return add(mul(t, 0), 1);
  const h = tanh(mul(t, -Math.log(beta) / 2));
  return div(mul(h, 2), add(h, 1));
}
