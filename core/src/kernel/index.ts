/** The loop level: kernels, how they are lowered from fusion groups, and their schedules. */
export {
  type Argument,
  type CLike,
  type FunctionText,
  helperName,
  type KernelPart,
  type KernelText,
  renderCLike,
  unitOf,
} from "./c-like/c-like.ts";
export type { Needs, ScalarOp, VectorOp, Vectors } from "./c-like/vectors.ts";
export { evaluateKernel } from "./evaluate.ts";
export { schedule, scheduled } from "./heuristics.ts";
export { lower } from "./lower.ts";
export {
  accumulatesIn,
  bodyOf,
  type Item,
  itemsOf,
  kernelNode,
  loadsIn,
  nestsOf,
  rangeOfLoop,
  rangesIn,
  storesOf,
} from "./nests.ts";
export type { Option } from "./option.ts";
export { shareLoops, workOf } from "./parallel.ts";
export { shareTiles } from "./shared-tiles.ts";
export { apply, applySchedule } from "./schedule.ts";
export { rebuild } from "./substitute.ts";
export { expandFused } from "./math/fused-transcendental.ts";
export { isHostScalar } from "./value-at.ts";
export { hasMatrix } from "./products/gemm-matrix.ts";
export { expandTranscendentals } from "./math/transcendental.ts";
export { wideTiles } from "./products/wide-tile.ts";
