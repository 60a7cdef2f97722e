/** Stochastic gradient descent, with momentum. */
import { ArgumentError } from "../errors.ts";
import { add, cast, mul, sub, tree } from "../tensor/index.ts";
import {
  checkRange,
  checkRate,
  type Decay,
  decayMatrices,
  firstStep,
  mapParameters,
  type Overrides,
  type Rate,
  type State,
  widened,
  zerosOf,
} from "./optimizer.ts";

/** The settings of `sgd`. */
export interface SgdOptions {
  /** 1e-2 by default; `update` may be given the rate of its step. */
  readonly learningRate?: Rate;
  readonly momentum?: number;
  /** Looks ahead along the momentum: steps by g + momentum · velocity. */
  readonly nesterov?: boolean;
  /** Added to the gradient, times the parameter. */
  readonly weightDecay?: number;
  /** Which parameters decay; by default those with two or more axes. */
  readonly decay?: Decay;
}

/** The model with its velocity. */
export interface SgdState<M> extends State<M> {
  /** A tree like the model; null without momentum. */
  readonly velocity: M | null;
}

/** The optimizer: pure functions over the state. */
export interface Sgd {
  /** The state before the first step. */
  init<M>(model: M): SgdState<M>;
  /** The state after a step; further fields of the state are kept.
   *  @throws TreeError where the trees differ */
  update<M, S extends SgdState<M>>(state: S & SgdState<M>, grads: M, overrides?: Overrides): S;
}

/** For a gradient g of a parameter p:
 *
 *    g ← g + decay · p;  velocity ← momentum · velocity + g;  p ← p − rate · velocity
 *
 *  @throws ArgumentError for an option outside its range
 *  @see Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning"; the form is PyTorch's
 *  @example const sgd = optim.sgd({ learningRate: 0.1, momentum: 0.9 }); */
export function sgd({
  learningRate = 1e-2,
  momentum = 0,
  nesterov = false,
  weightDecay = 0,
  decay = decayMatrices,
}: SgdOptions = {}): Sgd {
  checkRate("sgd", learningRate);
  checkRange("sgd", "momentum", momentum);
  checkRange("sgd", "weightDecay", weightDecay);
  if (nesterov && momentum === 0) throw new ArgumentError("sgd: nesterov needs a momentum above 0");
  return {
    init: (model) => ({ model, step: firstStep(), velocity: momentum > 0 ? zerosOf(model) : null }),
    update: (state, grads, overrides = {}) => {
      const rate = checkRate("sgd", overrides.learningRate ?? learningRate);
      const decayed = mapParameters(
        (path, g, p) => (weightDecay > 0 && decay(path, p) ? add(g, mul(widened(p), weightDecay)) : g),
        tree.map(widened, grads),
        state.model,
      );
      const velocity =
        momentum > 0 ? mapParameters((_, v, g) => add(mul(v, momentum), g), state.velocity, decayed) : null;
      const direction =
        velocity === null
          ? decayed
          : nesterov
            ? mapParameters((_, g, v) => add(g, mul(v, momentum)), decayed, velocity)
            : velocity;
      const model = mapParameters((_, p, d) => cast(sub(widened(p), mul(d, rate)), p.dtype), state.model, direction);
      return { ...state, model, step: add(state.step, 1), velocity };
    },
  };
}
