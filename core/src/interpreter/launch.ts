/** Running one fusion group on bytes, as the devices that take graphs do: inputs are decoded from regions, results encoded
 *  into them. Nothing but the artifact's text and the bytes passes the device interface. */
import { DeviceError, KernelError } from "../errors.ts";
import { known } from "../ir/dim.ts";
import { type DType, isFloat } from "../ir/dtype.ts";
import { tensorTypeOf } from "../ir/node.ts";
import { parse } from "../ir/parse.ts";
import type { TensorType } from "../ir/type.ts";
import type { Artifact } from "../runtime/driver.ts";
import { evaluate } from "./evaluate.ts";
import { type Row, type Rowed, rowed } from "./rows.ts";
import { type Value, valueOf } from "./value.ts";

/** A fusion group as the interpreter launches it. */
export interface Group extends Rowed {
  readonly name: string;
}

/** The group of an artifact.
 *  @throws DeviceError for another codegen, or code that is not text; FormatError for text that is not IR */
export function loadGroup({ codegen, name, code }: Artifact): Group {
  if (codegen !== "sinan-ir" || typeof code !== "string")
    throw new DeviceError(`${name}: expected code of sinan-ir, got ${codegen}`);
  return { name, ...rowed(parse(code)) };
}

/** How a device hands out and takes back the values of a launch's regions, by their number. */
export interface Regions {
  readonly count: number;
  /** `at`: bytes from the region's start. */
  read(region: number, type: TensorType, at: number): Value;
  write(region: number, value: Value, at: number): void;
}

/** Runs a group: regions are the inputs that are buffers, then the results; scalars are the inputs in host space.
 *  @throws KernelError naming the group, whatever went wrong */
export function launchGroup(
  { name, fn, inputs, outputs }: Group,
  regions: Regions,
  scalars: readonly number[],
  exact: boolean,
): void {
  try {
    let region = 0;
    let scalar = 0;
    const numbers = fn.params.map((p) => (tensorTypeOf(p).space === "host" ? (scalars[scalar++] ?? Number.NaN) : 0));
    const offset = (row: Row | undefined): number => (row ? (numbers[row.number] as number) * row.bytes : 0);
    const args = fn.params.map((p, i) => {
      const type = tensorTypeOf(p);
      if (type.space === "host") return scalarValue(type.dtype, numbers[i] as number, exact);
      return regions.read(region++, type, offset(inputs[i]));
    });
    if (scalar !== scalars.length || region + fn.results.length !== regions.count)
      throw new DeviceError(
        `expected ${region} inputs, ${fn.results.length} outputs and ${scalar} scalars, got ${regions.count} regions and ${scalars.length} scalars`,
      );
    evaluate(fn, args, { exact }).forEach((result, j) => regions.write(region++, result, offset(outputs[j])));
  } catch (cause) {
    throw new KernelError(`${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Sizes as numbers.
 *  @throws where one is symbolic */
export const knownSizes = (type: TensorType): number[] => type.dims.map((d) => known(d, "a kernel's buffer"));

const scalarValue = (dtype: DType, x: number, exact: boolean): Value =>
  exact && isFloat(dtype) ? { dtype, dims: [], data: Float64Array.of(x) } : valueOf(dtype, [], [x]);
