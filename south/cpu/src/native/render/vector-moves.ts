/** Helpers in C that move lanes and compute nothing: halves of a vector, exchanges between two, the first lanes in memory. */
import type { DType, Needs, VectorOp } from "sinan/south";
import { types } from "./c-types.ts";
import { bytesOf, define } from "./lane-text.ts";

/** Half of a vector of twice as many lanes, or two as one. */
function shuffled(
  name: string,
  result: string,
  params: string,
  args: string,
  lanes: readonly number[],
  loop: string,
): string {
  return `#if SINAN_SHUFFLES
${define(result, name, params, `return __builtin_shufflevector(${args}, ${lanes.join(", ")});`)}
#else
${define(result, name, params, loop)}
#endif`;
}

export function half(name: string, element: DType, lanes: number, needs: Needs, from: 0 | 1): string {
  const [whole, result] = [needs.type(element, lanes), needs.type(element, lanes / 2)];
  const first = (from * lanes) / 2;
  const places = Array.from({ length: lanes / 2 }, (_, i) => first + i);
  const loop = `${result} y; SINAN_EACH(${lanes / 2}) y[i] = a[${first} + i]; return y;`;
  return shuffled(name, result, `${whole} a`, "a, a", places, loop);
}

export function join(name: string, element: DType, lanes: number, needs: Needs): string {
  const [result, part] = [needs.type(element, lanes), needs.type(element, lanes / 2)];
  const places = Array.from({ length: lanes }, (_, i) => i);
  const loop = `${result} y; SINAN_EACH(${lanes / 2}) { y[i] = a[i]; y[${lanes / 2} + i] = b[i]; } return y;`;
  return shuffled(name, result, `${part} a, ${part} b`, "a, b", places, loop);
}

export const isExchange = (op: VectorOp): op is `${"lower" | "upper"}_${number}` => /^(lower|upper)_/.test(op);

/** Every other `distance` lanes of two vectors in turn: the lower ones of each pair, or the upper ones. */
export function exchanged(
  name: string,
  element: DType,
  lanes: number,
  needs: Needs,
  distance: number,
  upper: boolean,
): string {
  const result = needs.type(element, lanes);
  const places = Array.from({ length: lanes }, (_, l) => {
    const isSecond = (l & distance) !== 0;
    return (isSecond ? lanes + l - distance : l) + (upper ? distance : 0);
  });
  const loop = `${result} y; for (int i = 0; i < ${lanes}; i++) y[i] = i & ${distance} ? b[i - ${upper ? 0 : distance}] : a[i + ${upper ? distance : 0}]; return y;`;
  return shuffled(name, result, `${result} a, ${result} b`, "a, b", places, loop);
}

export const isFirst = (op: VectorOp): op is `${"take" | "give"}_${number}` => /^(take|give)_/.test(op);

/** The first lanes from memory, the others 0, or to memory. */
export function first(name: string, op: VectorOp, element: DType, lanes: number, needs: Needs): string {
  const [what, number] = op.split("_");
  const count = Number(number);
  const [whole, memory, bytes] = [needs.type(element, lanes), types[element] ?? "", count * bytesOf(element)];
  const [result, params, plain, machine] =
    what === "take"
      ? [
          whole,
          `const ${memory} *p`,
          `${whole} y = { 0 }; memcpy(&y, p, ${bytes}); return y;`,
          `return __builtin_ia32_loadups512_mask(p, (${whole}){ 0 }, (short)${2 ** count - 1});`,
        ]
      : [
          "void",
          `${memory} *p, ${whole} a`,
          `memcpy(p, &a, ${bytes});`,
          `__builtin_ia32_storeups512_mask(p, a, (short)${2 ** count - 1});`,
        ];
  const text = define(result, name, params, plain);
  if (element !== "f32" || lanes !== 16) return text;
  return `#if defined(__AVX512F__)\n${define(result, name, params, machine)}\n#else\n${text}\n#endif`;
}

/** Every other lane of two vectors in a row, the second of which begins with the last lane of the first. */
export function everyOther(name: string, element: DType, lanes: number, needs: Needs): string {
  const result = needs.type(element, lanes);
  const places = Array.from({ length: lanes }, (_, l) => (2 * l < lanes ? 2 * l : 2 * l + 1));
  const loop = `${result} y; for (int i = 0; i < ${lanes}; i++) y[i] = 2 * i < ${lanes} ? a[2 * i] : b[2 * i + 1 - ${lanes}]; return y;`;
  return shuffled(name, result, `${result} a, ${result} b`, "a, b", places, loop);
}
