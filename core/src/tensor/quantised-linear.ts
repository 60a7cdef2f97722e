/** Linear maps by weights in blocks, with what they are multiplied by as it is or rounded to 8 bits. */
import { ArgumentError, DTypeError, ShapeError } from "../errors.ts";
import { dimsEqual } from "../ir/dim.ts";
import { isBlock } from "../ir/dtype.ts";
import { typeText } from "../ir/type.ts";
import { BLOCK, blockDot } from "../ops/block-dot.ts";
import { hasMinima, zeroPoints } from "../ops/blocks.ts";
import { add, cast, mul, neg } from "./arithmetic.ts";
import { floatNode, result } from "./operand.ts";
import { codes8, dequantize } from "./quantised.ts";
import { dot, sum } from "./reduce.ts";
import type { Tensor } from "./tensor.ts";

/** What quantised weights are multiplied by: `"float"`, x as it is; `"int8"`, x rounded to `q8_0`, 8 bits with a scale for each 32 values. */
export type Activations = "float" | "int8";

/** How `quantizedLinear` treats what it multiplies. */
export interface QuantizedLinearOptions {
  /** Default `"float"`. */
  readonly activations?: Activations;
}

/** x · weightᵀ + bias of a weight in blocks, whose values are decoded where they are used.
 *
 *  With `activations: "int8"` x is rounded first to what `quantize(x, "q8_0")` keeps: each value to a multiple of its block's scale d =
 *  f16(max |x| / 127), of 32 values, so by at most d / 2 and what rounding d itself takes (2⁻¹¹ of a value). Within a block products are
 *  of integers and exact, sums of blocks in f32, in their order, on every device. llama.cpp computes so, unasked. It is for
 *  inference: asked for a gradient it refuses.
 *
 *  @param x       [..., in], any float dtype
 *  @param weight  [out, in] of a block dtype
 *  @param bias    [out]
 *  @returns       f32[..., out]
 *  @throws DTypeError, ShapeError, ArgumentError
 *  @see ggml-quants.c, quantize_row_q8_0_ref
 *  @example quantizedLinear(full([1, 32], 127), quantize(full([1, 32], 127), "q8_0"), null, { activations: "int8" })   // [[516128]] */
export function quantizedLinear(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor | null,
  { activations = "float" }: QuantizedLinearOptions = {},
): Tensor {
  if (activations !== "float" && activations !== "int8")
    throw new ArgumentError(
      `quantizedLinear: expected activations to be "float" or "int8", got ${JSON.stringify(activations)}`,
    );
  if (weight.rank !== 2 || x.rank === 0 || !dimsEqual(x.dims.slice(-1), weight.dims.slice(1)))
    throw new ShapeError(
      `quantizedLinear: expected x [..., in] and weight [out, in], got ${typeText(x.type)} and ${typeText(weight.type)}`,
    );
  if (bias && !dimsEqual(bias.dims, weight.dims.slice(0, 1)))
    throw new ShapeError(
      `quantizedLinear: expected bias [out] with weight ${typeText(weight.type)}, got ${typeText(bias.type)}`,
    );
  const full = cast(
    result(() => floatNode("quantizedLinear", x)),
    "f32",
  );
  const y = activations === "int8" ? rounded(full, weight) : product(full, weight);
  return bias ? add(y, bias) : y;
}

const product = (x: Tensor, weight: Tensor): Tensor => dot(x, dequantize(weight), { contract: [[-1], [1]] });

function rounded(x: Tensor, weight: Tensor): Tensor {
  const { dtype } = weight;
  if (!isBlock(dtype))
    throw new DTypeError(
      `quantizedLinear: expected a weight in blocks for int8 activations, got ${typeText(weight.type)}`,
      { hint: "leave activations out, which are then multiplied as they are" },
    );
  const k = x.dims.at(-1) as number;
  const { codes, scales } = codes8(x.reshape([-1, k / BLOCK, BLOCK]));
  const sums = sum(codes, -1);
  const zeros = hasMinima(dtype)
    ? neg(mul(cast(sums, "f32"), scales.reshape([-1, k / BLOCK])))
    : mul(sums, zeroPoints[dtype]);
  const y = result(() =>
    blockDot(codes.reshape([-1, k]).node, scales.reshape([-1, k / BLOCK]).node, zeros.node, weight.node),
  );
  return y.reshape([...x.dims.slice(0, -1), weight.dims[0] as number]);
}
