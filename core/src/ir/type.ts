/** What a node computes: a tensor of some dtype and dims, lying in some space and cut over some mesh axes; or a tuple. */
import { type Dim, dimsEqual, dimText } from "./dim.ts";
import type { DType } from "./dtype.ts";

/** Where a value lives. A scalar in `host` space is a JavaScript number that travels with the launch itself. */
export type Space = "device" | "host" | "disk";

/** How a tensor is cut over the axes of a mesh: for each dimension the axes that split it, and the axes over which the
 *  value is a partial result still to be combined. */
export interface Shard {
  readonly mesh: string;
  readonly dims: readonly (readonly string[])[];
  readonly partial?: { readonly axes: readonly string[]; readonly op: "sum" | "max" | "min" };
}

export interface TensorType {
  readonly dtype: DType;
  readonly dims: readonly Dim[];
  readonly shard?: Shard;
  /** Absent means `device`. */
  readonly space?: Space;
}

export interface TupleType {
  readonly tuple: readonly Type[];
}

export type Type = TensorType | TupleType;

export const isTuple = (type: Type): type is TupleType => "tuple" in type;

/** The type of a tensor. */
export const tensorType = (dtype: DType, dims: readonly Dim[] = [], space?: Space): TensorType =>
  space === undefined || space === "device" ? { dtype, dims } : { dtype, dims, space };

/** The type's spelling in printed IR, for instance `f32[8, batch]{dp; _}@host`. */
export function typeText(type: Type): string {
  if (isTuple(type)) return `(${type.tuple.map(typeText).join(", ")})`;
  const { dtype, dims, shard, space } = type;
  return `${dtype}[${dims.map(dimText).join(", ")}]${shard ? shardText(shard) : ""}${space && space !== "device" ? `@${space}` : ""}`;
}

function shardText({ mesh, dims, partial }: Shard): string {
  const cut = dims.map((axes) => axes.join(",") || "_").join("; ");
  return `{${mesh}: ${cut}${partial ? ` | ${partial.op} ${partial.axes.join(",")}` : ""}}`;
}

export function typeEqual(a: Type, b: Type): boolean {
  if (a === b) return true;
  if (isTuple(a) || isTuple(b)) {
    if (!isTuple(a) || !isTuple(b) || a.tuple.length !== b.tuple.length) return false;
    return a.tuple.every((t, i) => typeEqual(t, b.tuple[i] as Type));
  }
  return (
    a.dtype === b.dtype &&
    dimsEqual(a.dims, b.dims) &&
    (a.space ?? "device") === (b.space ?? "device") &&
    shardEqual(a.shard, b.shard)
  );
}

const shardEqual = (a: Shard | undefined, b: Shard | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && shardText(a) === shardText(b));
