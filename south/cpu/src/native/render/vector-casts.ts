/** Casts of vectors in C, rounded and clamped as the interpreter's are. */
import { type DType, dtypes, isFloat, type Needs } from "sinan/south";
import { bytesOf, define, elementOf, laneWise } from "./lane-text.ts";
import { widened } from "./widen.ts";

/** Casts of numbers. */
export function cast(name: string, from: DType, to: DType, lanes: number, needs: Needs): string {
  const [result, given] = [needs.type(elementOf(to), lanes), needs.type(elementOf(from), lanes)];
  const made = (body: string): string => define(result, name, `${given} a`, body);
  const step = (by: DType): string =>
    made(`return ${needs.vector("cast", to, by, lanes)}(${needs.vector("cast", by, from, lanes)}(a));`);
  const isWhole = (dtype: DType): boolean => !isFloat(dtype);
  const [small, large] = [bytesOf(from), bytesOf(to)];
  if (from === "bf16") {
    if (to !== "f32") return step("f32");
    return made(`return (${result})(${needs.vector("cast", "u32", "u16", lanes)}(a) << 16);`);
  }
  if (to === "bf16" && from === "f32") {
    const bits = needs.type("u32", lanes);
    const mask = needs.type("i32", lanes);
    return made(
      `${bits} x = (${bits})a; ${mask} nan = a != a; x = (((x + 0x7fff + ((x >> 16) & 1)) >> 16) & ~(${bits})nan) | (0x7fc0 & (${bits})nan); return __builtin_convertvector(x, ${result});`,
    );
  }
  if (from === "f16" && to !== "f32") return step("f32");
  if (from === "f16" || (from === "f32" && to === "f16")) return half16(name, from, lanes, needs);
  if (isWhole(from) && isWhole(to)) {
    const plain = made(`return __builtin_convertvector(a, ${result});`);
    const wide =
      small < 4 && large === 4 ? widened(small === 1 ? 8 : 16, dtypes[from].kind === "int", lanes, result) : undefined;
    return wide ? `#if ${wide.condition}\n${made(wide.body)}\n#else\n${plain}\n#endif` : plain;
  }
  if (isWhole(from) && (to === "f32" || to === "f64") && small < 4) return step("i32");
  if (from === "i32" && to === "f64") return made(`return __builtin_convertvector(a, ${result});`);
  if (from === "f32" && to === "f64" && (lanes === 4 || lanes === 8)) {
    const plain = made(`return __builtin_convertvector(a, ${result});`);
    // GCC converts the lanes in pairs.
    const [feature, whole] =
      lanes === 4
        ? ["__AVX__", "__builtin_ia32_cvtps2pd256(a)"]
        : ["__AVX512F__", `__builtin_ia32_cvtps2pd512_mask(a, (${result}){ 0 }, (char)-1, 4)`];
    return `#if defined(__GNUC__) && !defined(__clang__) && defined(${feature})\n${made(`return ${whole};`)}\n#else\n${plain}\n#endif`;
  }
  if ((from === "f32" && to === "f64") || (from === "f64" && to === "f32"))
    return made(`return __builtin_convertvector(a, ${result});`);
  if (from === "f32" && to === "i32") {
    // Only what fits is converted.
    const [mask, all] = [needs.type("i32", lanes), needs.vector("allOf", "i32", "i32", lanes)];
    const choose = needs.vector("select", "i32", "i32", lanes);
    return made(
      `${mask} fits = (a >= -0x1p31f) & (a < 0x1p31f); ${result} y = __builtin_convertvector(${needs.vector("select", "f32", "i32", lanes)}(fits, a, a - a), ${result}); return ${choose}((${mask})(a >= 0x1p31f), ${all}(INT32_MAX), ${choose}((${mask})(a < -0x1p31f), ${all}(INT32_MIN), y & fits));`,
    );
  }
  if (from === "f32" && isWhole(to) && large < 4) {
    const wide = needs.type("i32", lanes);
    const [least, most] =
      dtypes[to].kind === "int" ? [-(2 ** (8 * large - 1)), 2 ** (8 * large - 1) - 1] : [0, 2 ** (8 * large) - 1];
    return made(
      `${wide} y; SINAN_EACH(${lanes}) y[i] = a[i] != a[i] ? 0 : a[i] <= ${least} ? ${least} : a[i] >= ${most} ? ${most} : (int32_t)a[i]; return __builtin_convertvector(y, ${result});`,
    );
  }
  return laneWise(result, name, `${given} a`, lanes, `${needs.scalar("cast", to, from)}(a[i])`);
}

/** f16 to f32 or back, a NaN as 0x7e00. */
function half16(name: string, from: "f16" | "f32", lanes: number, needs: Needs): string {
  const [short, float] = [needs.type("u16", lanes), needs.type("f32", lanes)];
  const toFloat = from === "f16";
  const define1 = (body: string): string => define(toFloat ? float : short, name, `${toFloat ? short : float} a`, body);
  const lane = define1(
    `${toFloat ? float : short} y; SINAN_EACH(${lanes}) y[i] = ${toFloat ? needs.scalar("cast", "f32", "f16") : needs.scalar("cast", "f16", "f32")}(a[i]); return y;`,
  );
  if (lanes !== 4 && lanes !== 8 && lanes !== 16) return lane;
  const words = needs.type("i16", lanes);
  const nan = `${words} nan = __builtin_convertvector(a != a, ${words}); return (y & ~(${short})nan) | (0x7e00 & (${short})nan);`;
  const [feature, read, write] =
    lanes === 16
      ? [
          "__AVX512F__",
          `__builtin_ia32_vcvtph2ps512_mask((${words})a, (${float}){ 0 }, (short)-1, 4)`,
          `(${short})__builtin_ia32_vcvtps2ph512_mask(a, 0, (${words}){ 0 }, (short)-1)`,
        ]
      : lanes === 8
        ? ["__F16C__", `__builtin_ia32_vcvtph2ps256((${words})a)`, `(${short})__builtin_ia32_vcvtps2ph256(a, 0)`]
        : ["", "", ""];
  const clang = toFloat
    ? `return __builtin_convertvector((${name}_h)a, ${float});`
    : `${short} y = (${short})__builtin_convertvector(a, ${name}_h); ${nan}`;
  const gcc = toFloat ? `return ${read};` : `${short} y = ${write}; ${nan}`;
  const ours = feature === "" ? "" : `#elif defined(__GNUC__) && defined(${feature})\n${define1(gcc)}\n`;
  return `#if defined(__clang__) && (defined(__F16C__) || defined(__aarch64__))
typedef __fp16 ${name}_h __attribute__((vector_size(${2 * lanes})));
${define1(clang)}
${ours}#else
${lane}
#endif`;
}
