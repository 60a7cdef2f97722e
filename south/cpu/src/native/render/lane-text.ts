/** What helpers on vectors are written with: their head, a lane at a time, and one text or another by what the compiler's macros say. */
import { byteSize, type DType } from "sinan/south";

export const bytesOf = (element: DType): number => byteSize(element, 1);
const isShort = (dtype: DType): boolean => dtype === "f16" || dtype === "bf16";
/** What stands for it in memory. */
export const elementOf = (dtype: DType): DType => (isShort(dtype) ? "u16" : dtype);

/** The dtype of the masks that choose between values of such elements. */
export const maskOf = (element: DType): DType => `i${8 * bytesOf(element)}` as DType;

export const define = (result: string, name: string, params: string, body: string): string =>
  `SINAN_LANES ${result} ${name}(${params}) { ${body} }`;

/** A function each of whose lanes is an expression in those of its arguments, whose number is `i`. */
export const laneWise = (result: string, name: string, params: string, lanes: number, lane: string): string =>
  define(result, name, params, `${result} y; SINAN_EACH(${lanes}) y[i] = ${lane}; return y;`);

/** The text of the first condition that holds. */
export const chosen = (choices: readonly (readonly [condition: string, text: string])[], otherwise: string): string =>
  choices.length === 0
    ? otherwise
    : `${choices.map(([condition, text], i) => `#${i === 0 ? "if" : "elif"} ${condition}\n${text}\n`).join("")}#else\n${otherwise}\n#endif`;
