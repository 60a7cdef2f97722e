/** Stochastic gradient descent, with momentum. */
import { ArgumentError } from "../errors.ts";
import { add, cast, mul, sub, type Tensor } from "../tensor/index.ts";
import { checkGroups, type ParameterGroup, settingsOf } from "./groups.ts";
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
  /** Parameters with settings of their own; of several groups that match one, the first counts. */
  readonly groups?: readonly ParameterGroup[];
}

/** The model with its velocity. */
export interface SgdState<M> extends State<M> {
  /** A tree like the model; null without momentum. */
  readonly velocity: M | null;
}

/** What `sgd` gives: a state from a model, and the next state from gradients. */
export interface Sgd extends Freezing {
  /** The state before the first step.
   *  @throws ArgumentError if a group has no parameter */
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
  groups = [],
}: SgdOptions = {}): Sgd {
  checkRate("sgd", learningRate);
  checkRange("sgd", "momentum", momentum);
  checkRange("sgd", "weightDecay", weightDecay);
  if (nesterov && momentum === 0) throw new ArgumentError("sgd: nesterov needs a momentum above 0");
  const settings = settingsOf("sgd", groups, (path, p) => ({ weightDecay: decay(path, p) ? weightDecay : 0 }));
  const isFrozen = (path: string, p: Tensor): boolean => settings(path, p).frozen;
  return {
    isFrozen,
    init: (model) => {
      checkGroups("sgd", groups, model);
      return { model, step: firstStep(), velocity: momentum > 0 ? zerosOf(model, isFrozen) : null };
    },
    update: (state, grads, overrides = {}) => {
      const rate = checkRate("sgd", overrides.learningRate ?? learningRate);
      const decayed = mapParameters(
        (path, p, g) => {
          const own = settings(path, p);
          return own.frozen || own.weightDecay === 0 ? widened(g) : add(widened(g), mul(widened(p), own.weightDecay));
        },
        state.model,
        grads,
      );
      const velocity =
        momentum > 0
          ? mapParameters(
              (path, p, v, g) => (isFrozen(path, p) ? v : add(mul(v, momentum), g)),
              state.model,
              state.velocity,
              decayed,
            )
          : null;
      const direction =
        velocity === null
          ? decayed
          : nesterov
            ? mapParameters(
                (path, p, g, v) => (isFrozen(path, p) ? g : add(g, mul(v, momentum))),
                state.model,
                decayed,
                velocity,
              )
            : velocity;
      const model = mapParameters(
        (path, p, d) => {
          const { frozen, rateScale } = settings(path, p);
          return frozen ? p : cast(sub(widened(p), mul(d, rateScale === 1 ? rate : mul(rate, rateScale))), p.dtype);
        },
        state.model,
        direction,
      );
      return { ...state, model, step: add(state.step, 1), velocity };
    },
  };
}
