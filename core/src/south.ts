/** The door for packages that reach a chip: the IR as a code generator reads it, the loop level, and the contracts of
 *  drivers, devices and engines. */
export {
  type DType,
  carrierOf,
  dtypes,
  byteSize,
  fromBf16,
  fromF16,
  isFloat,
  roundTo,
  toBf16,
  toF16,
} from "./ir/dtype.ts";
export { type Dim, known } from "./ir/dim.ts";
export { type Fn, makeFn, topological } from "./ir/fn.ts";
export { dtypeOf, type Node, type NodeOf, type Op, type RangeKind, type ReduceKind, tensorTypeOf } from "./ir/node.ts";
export { within } from "./ir/scope.ts";
export { type Space, tensorType } from "./ir/type.ts";
export * as build from "./ops/build.ts";
export { erf } from "./ops/erf.ts";
export { addIndex, affine, bounds, constIndex, divIndex, modIndex, mulIndex } from "./ops/indexing.ts";
export { define, newScope } from "./ops/table.ts";
export * from "./errors.ts";
export { fuseRows } from "./compiler/join-rows.ts";
export { tightenGroups } from "./compiler/tighten.ts";
export { graphCodegen } from "./interpreter/codegen.ts";
export { Fences } from "./interpreter/fences.ts";
export { graphHardware } from "./interpreter/hardware.ts";
export { type Group, knownSizes, launchGroup, loadGroup, type Regions } from "./interpreter/launch.ts";
export { decode, encode, type Value, valueOf } from "./interpreter/value.ts";
export { whole } from "./interpreter/whole.ts";
export { parse } from "./ir/parse.ts";
export { print } from "./ir/print.ts";
export type { Json } from "./io/json.ts";
export { identityOf } from "./interpreter/contraction.ts";
export { computeNarrow } from "./kernel/carriers.ts";
export { orderLoops } from "./kernel/loop-orders.ts";
export * from "./kernel/index.ts";
export type * from "./runtime/driver.ts";
export type * from "./runtime/hardware.ts";
export { register } from "./runtime/registry.ts";
