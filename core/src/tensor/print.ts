/** Values as text, as NumPy prints arrays: aligned columns, four or eight digits, long axes abbreviated. */
import type { DType } from "../ir/dtype.ts";
import { isFloat } from "../ir/dtype.ts";
import type { TypedArray } from "./dtypes.ts";

/** Elements beyond which axes are abbreviated, and how many are then shown at each end. */
const threshold = 1000;
const edge = 3;

export function format(values: TypedArray, shape: readonly number[], dtype: DType): string {
  const brief = values.length > threshold;
  const shown = (size: number): (number | null)[] =>
    brief && size > 2 * edge ? [0, 1, 2, null, size - 3, size - 2, size - 1] : Array.from({ length: size }, (_, i) => i);
  const strides = shape.map((_, a) => shape.slice(a + 1).reduce((x, y) => x * y, 1));
  const visible: (number | bigint)[] = [];
  const visit = (axis: number, offset: number): void => {
    if (axis === shape.length) visible.push(values[offset] as number | bigint);
    else for (const i of shown(shape[axis] as number)) if (i !== null) visit(axis + 1, offset + i * (strides[axis] as number));
  };
  visit(0, 0);
  const spell = speller(visible, dtype);
  const width = Math.max(0, ...visible.map((v) => spell(v).length));
  const build = (axis: number, offset: number): string => {
    if (axis === shape.length) return spell(values[offset] as number | bigint).padStart(shape.length ? width : 0);
    const last = axis === shape.length - 1;
    const parts = shown(shape[axis] as number).map((i) => (i === null ? "..." : build(axis + 1, offset + i * (strides[axis] as number))));
    const gap = last ? " " : `${"\n".repeat(shape.length - 1 - axis)}${" ".repeat(axis + 1)}`;
    return `[${last ? wrap(parts, axis + 1) : parts.join(gap)}]`;
  };
  return shape.includes(0) ? `[] (shape ${shape.join(" x ")})` : build(0, 0);
}

/** Joins numbers with spaces, breaking lines at 75 columns. */
function wrap(parts: readonly string[], indent: number): string {
  let line = "";
  let text = "";
  for (const part of parts) {
    if (line !== "" && indent + line.length + 1 + part.length > 75) {
      text += `${line}\n${" ".repeat(indent)}`;
      line = part;
    } else line = line === "" ? part : `${line} ${part}`;
  }
  return text + line;
}

/** One spelling for all shown values: fixed point with the digits that the least round of them needs, at most 8 (f64) or
 *  4 places, or exponents where the magnitudes are far apart. */
function speller(values: readonly (number | bigint)[], dtype: DType): (v: number | bigint) => string {
  if (dtype === "bool") return (v) => (v ? "true" : "false");
  if (!isFloat(dtype)) return String;
  const places = dtype === "f64" ? 8 : 4;
  const finite = values.map(Number).filter((x) => Number.isFinite(x) && x !== 0);
  const largest = Math.max(0, ...finite.map(Math.abs));
  const least = Math.min(Number.POSITIVE_INFINITY, ...finite.map(Math.abs));
  const special = (x: number): string => (Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf");
  if (largest >= 1e8 || least < 1e-4 || largest / least > 1e6)
    return (v) => (Number.isFinite(Number(v)) ? Number(v).toExponential(places) : special(Number(v)));
  const digits = Math.max(0, ...finite.map((x) => (x.toFixed(places).replace(/0+$/, "").split(".")[1] ?? "").length));
  return (v) => {
    const x = Number(v);
    if (!Number.isFinite(x)) return special(x);
    return digits === 0 ? `${x.toFixed(0)}.` : x.toFixed(digits);
  };
}
