/** The shapes of a model's weights, initialised or not. */

import { tree } from "sinan";

/** The name and shape of every weight of a model. */
export const weightShapes = (model: object): Map<string, readonly number[]> =>
  new Map(tree.flatten(model).flatMap(({ path, value }) => (isShaped(value) ? [[path, value.dims] as const] : [])));

export const isShaped = (leaf: unknown): leaf is { readonly dims: readonly number[] } =>
  typeof leaf === "object" && leaf !== null && "dims" in leaf;
