/** Sinan's core: tensors, transforms, the compiler, layers and optimizers. */
export * from "./errors.ts";
export * from "./io/index.ts";
export type { Dim } from "./ir/dim.ts";
export { symbol } from "./ir/symbol.ts";
export type { DType } from "./ir/dtype.ts";
export { dtypes } from "./ir/dtype.ts";
export { memoryBudget } from "./compiler/budget.ts";
export { currentTuning, type Tuning } from "./compiler/tuning.ts";
export type { Footprint, Holder } from "./compiler/footprint.ts";
export type { Fit } from "./compiler/layout.ts";
export * as data from "./data/index.ts";
export * as nn from "./nn/index.ts";
export * as optim from "./optim/index.ts";
export * from "./tensor/index.ts";
export type {
  Artifact,
  Building,
  Codegen,
  Command,
  Device,
  Driver,
  Executable,
  Fence,
  GraphEngine,
  Hints,
  Loss,
  Memory,
  MemorySpace,
  Queue,
  Region,
  TierChange,
} from "./runtime/driver.ts";
export type { ComputeUnit, HardwareModel, MemoryLevel } from "./runtime/hardware.ts";
export { changeTier, currentDevice, device, type DeviceOptions, type Devices } from "./runtime/devices.ts";
export { memory, type MemoryReport } from "./runtime/memory.ts";
export { type Plugin, probeAll, register } from "./runtime/registry.ts";
export { hostTurn } from "./runtime/turn.ts";
