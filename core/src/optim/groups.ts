/** Groups of parameters, told apart by their paths: which decay and by how much, which go at another rate, which stay as they are. */
import { ArgumentError } from "../errors.ts";
import { type Tensor } from "../tensor/index.ts";
import * as tree from "../tensor/tree.ts";

/** What a group's parameters have of their own; what is absent is the optimizer's. */
export interface ParameterGroup {
  /** A path or the beginning of one, in which `*` is one part and `**` any number: `model.layers.*.mlp`, `**.bias`. Or a test. */
  readonly match: string | RegExp | ((path: string, parameter: Tensor) => boolean);
  /** Times the rate of the step. */
  readonly rateScale?: number;
  readonly weightDecay?: number;
  /** Kept as it is: no moments, no part of the gradient's norm. */
  readonly frozen?: boolean;
}

/** How one parameter moves. */
export interface Settings {
  readonly rateScale: number;
  readonly weightDecay: number;
  readonly frozen: boolean;
}

/** A path pattern as a test: it holds for a path that it matches as a whole, or up to one of its dots.
 *  @example matches("model.layers.*.mlp")("model.layers.3.mlp.up.weight")   // true */
export function matches(pattern: string): (path: string) => boolean {
  const parts = pattern.split(".").map((part) => {
    if (part === "**") return "(?:[^.]+(?:\\.[^.]+)*)";
    return part.replaceAll(/[\\^$+?()[\]{}|]/g, "\\$&").replaceAll("*", "[^.]*");
  });
  const whole = new RegExp(`^${parts.join("\\.").replaceAll("(?:[^.]+(?:\\.[^.]+)*)\\.", "(?:[^.]+\\.)*")}(?:\\.|$)`);
  return (path) => whole.test(path);
}

/** The settings of each parameter: those of the first group that matches it, over the defaults.
 *  @throws ArgumentError for a number outside its range */
export function settingsOf(
  optimizer: string,
  groups: readonly ParameterGroup[],
  defaults: (path: string, parameter: Tensor) => { readonly weightDecay: number },
): (path: string, parameter: Tensor) => Settings {
  const tests = groups.map(({ match, rateScale = 1, weightDecay = 0 }, i) => {
    for (const [name, value] of Object.entries({ rateScale, weightDecay }))
      if (!(value >= 0 && Number.isFinite(value)))
        throw new ArgumentError(`${optimizer}: groups[${i}].${name}: expected a number of at least 0, got ${value}`);
    if (typeof match === "string") return matches(match);
    return match instanceof RegExp ? (path: string) => match.test(path) : match;
  });
  return (path, parameter) => {
    const group = groups[tests.findIndex((test) => test(path, parameter))];
    const { rateScale = 1, frozen = false, weightDecay = defaults(path, parameter).weightDecay } = group ?? {};
    return { rateScale, frozen, weightDecay };
  };
}

/** Refuses groups of which one has no parameter: a mistyped path would be a silent one.
 *  @throws ArgumentError */
export function checkGroups(optimizer: string, groups: readonly ParameterGroup[], model: unknown): void {
  const parameters = tree.tensors(model);
  groups.forEach((group, i) => {
    const settings = settingsOf(optimizer, [{ ...group, frozen: true }], () => ({ weightDecay: 0 }));
    if (parameters.some(({ path, tensor }) => settings(path, tensor).frozen)) return;
    throw new ArgumentError(`${optimizer}: groups[${i}]: no parameter matches ${String(group.match)}`, {
      hint: `the parameters are ${parameters
        .slice(0, 6)
        .map(({ path }) => path)
        .join(", ")}${parameters.length > 6 ? " …" : ""}`,
    });
  });
}
