/** Values as text, as NumPy prints arrays: the shortest digits that are the value in its dtype, at most 8 after the point, in
 *  columns; exponents where magnitudes are far apart; long axes abbreviated. true and false are JavaScript's. */
import { type DType, isFloat, roundTo } from "../ir/dtype.ts";
import type { TypedArray } from "./dtypes.ts";

/** Elements beyond which axes are abbreviated, how many are then shown at each end, columns of a line, digits of a fraction. */
const threshold = 1000;
const edge = 3;
const lineWidth = 75;
const precision = 8;

type Value = number | bigint;

export function format(values: TypedArray, shape: readonly number[], dtype: DType): string {
  if (shape.length === 0) return scalarText(values[0] as Value, dtype);
  if (shape.includes(0)) return "[]";
  const shown = (size: number): (number | null)[] =>
    values.length > threshold && size > 2 * edge
      ? [0, 1, 2, null, size - 3, size - 2, size - 1]
      : Array.from({ length: size }, (_, i) => i);
  const strides = shape.map((_, a) => shape.slice(a + 1).reduce((x, y) => x * y, 1));
  const visible: Value[] = [];
  const visit = (axis: number, offset: number): void => {
    if (axis === shape.length) visible.push(values[offset] as Value);
    else
      for (const i of shown(shape[axis] as number))
        if (i !== null) visit(axis + 1, offset + i * (strides[axis] as number));
  };
  visit(0, 0);
  const words = spelled(visible, dtype);
  let next = 0;
  const build = (axis: number): string => {
    const indent = " ".repeat(axis + 1);
    const last = axis === shape.length - 1;
    const parts = shown(shape[axis] as number).map((i) =>
      i === null ? "..." : last ? (words[next++] as string) : build(axis + 1),
    );
    if (!last) return `[${parts.join("\n".repeat(shape.length - 1 - axis) + indent)}]`;
    return `[${wrapped(parts, indent, lineWidth - axis - 1)}]`;
  };
  return build(0);
}

/** Words side by side in lines of a width. */
function wrapped(words: readonly string[], indent: string, width: number): string {
  const lines: string[] = [];
  let line = indent;
  for (const word of words) {
    if (line.length > indent.length && line.length + word.length > width) {
      lines.push(line.trimEnd());
      line = indent;
    }
    line += `${word} `;
  }
  return [...lines, line.slice(0, -1)].join("\n").slice(indent.length);
}

/** The words of the shown values, all as wide as the widest. */
function spelled(values: readonly Value[], dtype: DType): string[] {
  if (!isFloat(dtype)) return padded(values.map((v) => (dtype === "bool" ? String(v !== 0) : String(v))));
  const numbers = values.map(Number);
  const sizes = numbers.map(Math.abs).filter((x) => Number.isFinite(x) && x !== 0);
  const [most, least] = [Math.max(...sizes), Math.min(...sizes)];
  const spell = most >= 1e8 || least < 1e-4 || most / least > 1000 ? withExponent : positional;
  const parts = numbers.map((x) => (Number.isFinite(x) ? spell(x, dtype) : null));
  const fraction = Math.max(0, ...parts.map((p) => p?.fraction.length ?? 0));
  const exponent = Math.max(0, ...parts.map((p) => p?.exponent.length ?? 0));
  return padded(
    parts.map((p, i) => {
      if (!p) return special(numbers[i] as number);
      if (spell === positional) return `${p.whole}.${p.fraction.padEnd(fraction)}`;
      return `${p.whole}.${p.fraction.padEnd(fraction, "0")}e${p.sign}${p.exponent.padStart(exponent, "0")}`;
    }),
  );
}

const special = (x: number): string => (Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf");

function padded(words: readonly string[]): string[] {
  const width = Math.max(...words.map((w) => w.length));
  return words.map((w) => w.padStart(width));
}

/** A finite number in parts. */
interface Parts {
  readonly whole: string;
  readonly fraction: string;
  readonly sign: string;
  readonly exponent: string;
}

/** The double with the fewest digits among those that round to x in the dtype. */
function shortest(x: number, dtype: DType): number {
  if (dtype === "f64") return x;
  for (let digits = 1; digits < 9; digits++) {
    const y = Number(x.toPrecision(digits));
    if (roundTo(dtype, y) === x) return y;
  }
  return Number(x.toPrecision(9));
}

const signed = (x: number, text: string): string => (Object.is(x, -0) ? `-${text}` : text);

function positional(x: number, dtype: DType): Parts {
  const exact = String(shortest(x, dtype));
  const text = (exact.split(".")[1] ?? "").length > precision || exact.includes("e") ? x.toFixed(precision) : exact;
  const [whole = "", fraction = ""] = signed(x, text).split(".");
  return { whole, fraction: fraction.replace(/0+$/, ""), sign: "", exponent: "" };
}

function withExponent(x: number, dtype: DType): Parts {
  const exact = shortest(x, dtype).toExponential();
  const text = (/\.(\d+)e/.exec(exact)?.[1]?.length ?? 0) > precision ? x.toExponential(precision) : exact;
  const [mantissa = "", power = ""] = signed(x, text).split("e");
  const [whole = "", fraction = ""] = mantissa.split(".");
  return {
    whole,
    fraction: fraction.replace(/0+$/, ""),
    sign: power.slice(0, 1),
    exponent: power.slice(1).padStart(2, "0"),
  };
}

/** One number by itself, with all its digits. */
function scalarText(v: Value, dtype: DType): string {
  if (!isFloat(dtype)) return dtype === "bool" ? String(v !== 0) : String(v);
  const x = Number(v);
  if (!Number.isFinite(x)) return special(x);
  const y = shortest(x, dtype);
  if (x !== 0 && (Math.abs(x) < 1e-4 || Math.abs(x) >= 1e16))
    return y.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  const text = signed(x, String(y));
  return text.includes(".") ? text : `${text}.0`;
}
