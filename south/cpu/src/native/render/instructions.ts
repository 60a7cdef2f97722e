/** Ops of floats for which a processor has an instruction that GCC does not make of operators on vectors. Clang makes it of a loop over
 *  lanes, as GCC does on other processors. */
import { byteSize, type DType, type VectorOp } from "sinan/south";

/** Instructions of GCC's own names for what it does not make of operators: under which condition, and the expression. */
export function instructions(op: VectorOp, dtype: DType, lanes: number): [string, string][] | undefined {
  const letter = dtype === "f32" ? "s" : dtype === "f64" ? "d" : undefined;
  if (letter === undefined) return undefined;
  const isGcc = "defined(__GNUC__) && !defined(__clang__)";
  const size = byteSize(dtype, 1) * lanes;
  const of = (feature: string, value: string): [string, string][] => [[`${isGcc} && defined(${feature})`, value]];
  const width = size === 16 ? "" : String(size * 8);
  const full = size === 64;
  if (!full && size !== 32 && size !== 16) return undefined;
  const all = dtype === "f32" ? "(short)-1" : "(char)-1";
  switch (op) {
    case "fma":
      return full
        ? of("__AVX512F__", `__builtin_ia32_vfmaddp${letter}512_mask(a, b, c, ${all}, 4)`)
        : of("__FMA__", `__builtin_ia32_vfmaddp${letter}${width}(a, b, c)`);
    case "sqrt":
      return full
        ? of("__AVX512F__", `__builtin_ia32_sqrtp${letter}512_mask(a, a, ${all}, 4)`)
        : of(size === 32 ? "__AVX__" : "__SSE2__", `__builtin_ia32_sqrtp${letter}${width}(a)`);
    case "floor":
    case "round": {
      const mode = op === "floor" ? 9 : 8;
      return full
        ? of("__AVX512F__", `__builtin_ia32_rndscalep${letter}_mask(a, ${mode}, a, ${all}, 4)`)
        : of(size === 32 ? "__AVX__" : "__SSE4_1__", `__builtin_ia32_roundp${letter}${width}(a, ${mode})`);
    }
    case "scale": {
      // Clang has them by the same names.
      const mask = (lanes: number): string => (lanes > 8 ? "(short)-1" : "(char)-1");
      return full
        ? [["defined(__AVX512F__)", `__builtin_ia32_scalefp${letter}512_mask(a, b, a, ${all}, 4)`]]
        : [["defined(__AVX512VL__)", `__builtin_ia32_scalefp${letter}${size * 8}_mask(a, b, a, ${mask(lanes)})`]];
    }
    case "maxNumber":
    case "minNumber": {
      const verb = op === "maxNumber" ? "max" : "min";
      // The second operand where neither is greater, or one is NaN.
      return full
        ? of("__AVX512F__", `__builtin_ia32_${verb}p${letter}512_mask(b, a, a, ${all}, 4)`)
        : of(size === 32 ? "__AVX__" : "__SSE2__", `__builtin_ia32_${verb}p${letter}${width}(b, a)`);
    }
    default:
      return undefined;
  }
}
