/** Where the first NaN or infinity of a step is: the step is done again, not compiled, and looked at tensor by tensor. */
import { type Key, nn, tree, valueAndGrad } from "sinan";
import { lowered, type Precision } from "./scaling.ts";
import { Tensor } from "sinan";
import type { StepContext, Task, TrainState } from "./task.ts";

/** The first tensor of a step that is not finite. */
export interface NonFiniteAt {
  readonly kind: "parameter" | "activation" | "gradient" | "loss";
  /** Of the tensor in the model, or of the module whose result it is. */
  readonly path: string;
  /** For a message: `parameter model.norm.weight is not finite`. */
  readonly text: string;
}

/** The first tensor that is not finite: a parameter; otherwise, in the order of the forward pass, the result of a module; otherwise the
 *  gradient of a parameter. Called when a step was refused, so it may take its time, and holds all activations.
 *
 *  @param key  that of the refused step, so that dropout is the same */
export async function findNonFinite<M, S extends TrainState<M>, B>(
  task: Pick<Task<M, S, B>, "loss">,
  model: M,
  batch: B,
  key: Key,
  precision: Precision = "f32",
): Promise<NonFiniteAt> {
  const parameter = await firstNonFinite(tree.tensors(model));
  if (parameter !== undefined) {
    return { kind: "parameter", path: parameter, text: `parameter ${parameter} is not finite` };
  }
  const context: StepContext = { train: true, key };
  const mean = (m: M): Tensor => {
    const loss = task.loss(lowered(m, precision), batch, context);
    return loss instanceof Tensor ? loss : loss.total.div(loss.weight);
  };
  const seen: { path: string; tensor: Tensor }[] = [];
  nn.observe(
    (path, result) => {
      for (const { tensor } of tree.tensors(result))
        seen.push({ path: path === "" ? "the model's result" : path, tensor });
    },
    () => mean(model),
  );
  const floats = seen.filter(({ tensor }) => ["f16", "bf16", "f32", "f64"].includes(tensor.dtype));
  const activation = await firstNonFinite(floats);
  if (activation !== undefined)
    return {
      kind: "activation",
      path: activation,
      text: `the activation of ${activation} is the first that is not finite`,
    };
  const [, gradients] = valueAndGrad(mean)(model);
  const gradient = await firstNonFinite(tree.tensors(gradients));
  if (gradient !== undefined)
    return { kind: "gradient", path: gradient, text: `the gradient of ${gradient} is the first that is not finite` };
  const text = "every single tensor is finite, the loss or the sum of the gradients' squares is not";
  return { kind: "loss", path: "", text };
}

async function firstNonFinite(
  tensors: readonly { readonly path: string; readonly tensor: Tensor }[],
): Promise<string | undefined> {
  for (const { path, tensor } of tensors) if ((await tensor.isFinite().all().item()) === 0) return path;
  return undefined;
}
