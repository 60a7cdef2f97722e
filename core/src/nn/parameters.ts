/** A model's parameters by path, as files name them: `layers.0.weight`. */
import { ArgumentError, DTypeError, ShapeError, TreeError } from "../errors.ts";
import { typeText } from "../ir/type.ts";
import { Tensor } from "../tensor/tensor.ts";
import { flatten, mapLeaves } from "../tensor/tree.ts";
import { Parameter } from "./module.ts";

/** The tensors of a model by path, in the order of paths.
 *  @throws ArgumentError if one has no value yet
 *  @example nn.namedParameters(model)["layers.0.weight"] */
export function namedParameters(model: unknown): Record<string, Tensor> {
  const found: Record<string, Tensor> = {};
  for (const { path, value } of flatten(model)) {
    if (value instanceof Parameter)
      throw new ArgumentError(`namedParameters: ${path} has no value yet`, {
        hint: "call init(key(seed)) on the model first",
      });
    if (value instanceof Tensor) found[path] = value;
  }
  return found;
}

/** How many numbers a model learns, initialised or not. */
export const parameterCount = (model: unknown): number =>
  flatten(model).reduce(
    (n, { value }) =>
      n +
      (value instanceof Tensor ? value.size : value instanceof Parameter ? value.dims.reduce((a, b) => a * b, 1) : 0),
    0,
  );

/** The model with these tensors in place of its parameters, whether those had values or not.
 *
 *  @param values  a tensor for every parameter's path, and no others
 *  @throws TreeError naming paths that are missing or not the model's; ShapeError, DTypeError naming path, expected and got
 *  @example const model = nn.withParameters(nn.linear(2, 1), { weight: tensor([[1, 2]]), bias: tensor([0])}) */
export function withParameters<M>(model: M, values: Readonly<Record<string, Tensor>>): M {
  const expected = flatten(model).filter(({ value }) => value instanceof Tensor || value instanceof Parameter);
  const known = new Set(expected.map(({ path }) => path));
  const missing = [...known].filter((path) => !Object.hasOwn(values, path));
  const strange = Object.keys(values).filter((path) => !known.has(path));
  if (missing.length > 0 || strange.length > 0) {
    const lists = [
      missing.length > 0 ? `missing ${some(missing)}` : "",
      strange.length > 0 ? `not the model's ${some(strange)}` : "",
    ].filter(Boolean);
    throw new TreeError(`withParameters: the names differ from the model's: ${lists.join("; ")}`, {
      hint: "the model's own names are those of namedParameters(model)",
    });
  }
  return mapLeaves(model, (leaf, path) => {
    if (!(leaf instanceof Tensor) && !(leaf instanceof Parameter)) return leaf;
    const value = values[path] as Tensor;
    const want = `${leaf.dtype}[${leaf.dims.map(String).join(", ")}]`;
    const complaint = `withParameters: ${path} should be ${want}, got ${typeText(value.type)}`;
    if (String(leaf.dims) !== String(value.dims))
      throw new ShapeError(complaint, { hint: "is this the checkpoint of another model?" });
    if (leaf.dtype !== value.dtype) throw new DTypeError(complaint, { hint: `cast it: value.cast("${leaf.dtype}")` });
    return value;
  }) as M;
}

const some = (paths: readonly string[]): string =>
  `${paths.slice(0, 4).join(", ")}${paths.length > 4 ? ` and ${paths.length - 4} more` : ""}`;
