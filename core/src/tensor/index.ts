/** What `import … from "sinan"` gives of tensors. */
import "./methods.ts";

export * from "./arithmetic.ts";
export {
  avgPool,
  conv,
  conv1d,
  conv2d,
  conv3d,
  type ConvOptions,
  convTranspose,
  type ConvTransposeOptions,
  maxPool,
  type Padding,
  type PerAxis,
  type PoolOptions,
} from "./convolution.ts";
export {
  arange,
  eye,
  fromBytes,
  full,
  iota,
  ones,
  onesLike,
  tensor,
  zeros,
  zerosLike,
  type CreateOptions,
} from "./create.ts";
export type { TypedArray } from "./dtypes.ts";
export {
  type Outside,
  putAlongAxis,
  putAt,
  type PutMode,
  type PutOptions,
  searchSorted,
  takeAlongAxis,
  takeAt,
  type TakeOptions,
} from "./indexed.ts";
export * from "./elementwise.ts";
export { jit, type JitOptions } from "./jit.ts";
export { cond, scan, type ScanOptions, whileLoop } from "./control.ts";
export { type CumulativeOptions, cummax, cummin, cumprod, cumsum, logCumSumExp } from "./cumulative.ts";
export { footprint } from "./footprint.ts";
export { type Frozen, frozen } from "./frozen.ts";
export { hessian, hvp, jacobian, type JacobianOptions, jvp } from "./forward.ts";
export type { Operand } from "./operand.ts";
export { checkpointName, policies } from "./policies.ts";
export * as random from "./random.ts";
export { key, type Key } from "./random.ts";
export * from "./reduce.ts";
export {
  type CustomOptions,
  customVjp,
  type JvpRule,
  region,
  type RegionOptions,
  remat,
  type RematOptions,
  type RematPolicy,
  type VjpRule,
} from "./region.ts";
export { type BlockDType, dequantize, fakeQuantize, quantize } from "./quantised.ts";
export { type Activations, quantizedLinear, type QuantizedLinearOptions } from "./quantised-linear.ts";
export * from "./shape.ts";
export * from "./special.ts";
export { splitBackward, type SplitBackwardOptions } from "./split-backward.ts";
export { argsort, sort, type Sorted, type SortOptions, topK } from "./sorting.ts";
export { type SymbolicDims, symbolic, type Symbols } from "./symbolic.ts";
export { type Nested, Tensor } from "./tensor.ts";
export { grad, valueAndGrad, valueAndGradWith, vjp } from "./transform.ts";
export * as tree from "./tree.ts";
export { type TreeNode, treeNode } from "./tree.ts";
export { vmap, type VmapOptions } from "./vmap.ts";
