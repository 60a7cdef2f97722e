/** Vectors in C by the extensions of GCC and Clang. A helper is a loop over lanes, which both compilers turn into the instructions of
 *  whatever processor they compile for; where GCC does not, the helper is written with operators on whole vectors. */
import {
  type DType,
  dtypes,
  isFloat,
  type Needs,
  type Op,
  type ReduceKind,
  type ScalarOp,
  type VectorOp,
  type Vectors,
} from "sinan/south";
import { byteHelper } from "./byte-dots.ts";
import { parametersOf, types } from "./c-types.ts";
import { instructions } from "./instructions.ts";
import { bytesOf, chosen, define, elementOf, laneWise, maskOf } from "./lane-text.ts";
import { matrixHelper } from "./matrix-tiles.ts";
import { pairHelper } from "./pair-dots.ts";
import { cast } from "./vector-casts.ts";
import { everyOther, exchanged, first, half, isExchange, isFirst, join } from "./vector-moves.ts";

function type(name: string, element: DType, lanes: number): string {
  const size = bytesOf(element) * lanes;
  return `typedef ${types[element]} ${name} __attribute__((vector_size(${size})));
typedef ${types[element]} ${name}_m __attribute__((vector_size(${size}), aligned(${bytesOf(element)}), may_alias));`;
}

const combiner = { sum: "add", prod: "mul", max: "max", min: "min" } as const satisfies Record<ReduceKind, Op>;
const operators: Partial<Record<Op, string>> = { add: "+", mul: "*" };

function combined(kind: ReduceKind, dtype: DType, needs: Needs, a: string, b: string, lanes: number): string {
  if (dtype === "bool") return `(${a} ${kind === "max" || kind === "sum" ? "|" : "&"} ${b})`;
  const op = combiner[kind];
  const operator = operators[op];
  if (operator) return `(${a} ${operator} ${b})`;
  return `${lanes > 1 ? needs.vector(op, dtype, dtype, lanes) : needs.scalar(op, dtype, dtype)}(${a}, ${b})`;
}

/** The lanes in halves, one after another. */
function total(name: string, kind: ReduceKind, dtype: DType, element: DType, lanes: number, needs: Needs): string {
  const lines: string[] = [];
  let [vector, left] = ["a", lanes];
  while (left > 4) {
    const [low, high] = (["low", "high"] as const).map(
      (op) => `${needs.vector(op, element, element, left)}(${vector})`,
    );
    left /= 2;
    const both = combined(kind, dtype, needs, low as string, high as string, left);
    lines.push(`${needs.type(element, left)} a${left} = ${both};`);
    vector = `a${left}`;
  }
  const lane = (i: number): string => `${vector}[${i}]`;
  const pair = (a: string, b: string): string => combined(kind, dtype, needs, a, b, 1);
  lines.push(`return ${left === 2 ? pair(lane(0), lane(1)) : pair(pair(lane(0), lane(2)), pair(lane(1), lane(3)))};`);
  return define(types[element] ?? "", name, `${needs.type(element, lanes)} a`, lines.join(" "));
}

const helper: Vectors["helper"] = (name, op, dtype, from, lanes, needs) => {
  if (op === "dot2") return pairHelper(name, lanes, needs);
  const ofMatrix = matrixHelper(name, op, needs);
  if (ofMatrix !== undefined) return ofMatrix;
  const ofBytes = byteHelper(name, op, lanes, needs);
  if (ofBytes !== undefined) return ofBytes;
  const element = elementOf(dtype);
  const result = op.startsWith("total_") ? "" : needs.type(element, lanes);
  const memory = types[element] ?? "";
  switch (op) {
    case "allOf":
      return define(result, name, `${memory} x`, `return (${result}){ ${new Array(lanes).fill("x").join(", ")} };`);
    case "low":
      return half(name, element, lanes, needs, 0);
    case "high":
      return half(name, element, lanes, needs, 1);
    case "join":
      return join(name, element, lanes, needs);
    case "every2":
      return everyOther(name, element, lanes, needs);
    case "select":
      return choice(name, element, from, lanes, needs);
    case "resize":
      return define(result, name, `${needs.type(from, lanes)} a`, `return __builtin_convertvector(a, ${result});`);
    case "cast":
      return cast(name, from, dtype, lanes, needs);
    case "get":
      return laneWise(
        result,
        name,
        `const ${memory} *p, ${needs.type(maskOf(element), lanes)} m`,
        lanes,
        "m[i] ? p[i] : 0",
      );
    case "choice": {
      const params = `${result} a, ${needs.type("i32", lanes)} b`;
      const gcc = define(result, name, params, "return __builtin_shuffle(a, b);");
      const clang = define(result, name, params, "return __builtin_ia32_permvarsf512(a, b);");
      const lane = laneWise(result, name, params, lanes, `a[b[i] & ${lanes - 1}]`);
      return `#if defined(__GNUC__) && !defined(__clang__)\n${gcc}\n#elif defined(__AVX512F__)\n${clang}\n#else\n${lane}\n#endif`;
    }
    case "put":
      return define(
        "void",
        name,
        `${memory} *p, ${result} a, ${needs.type(maskOf(element), lanes)} m`,
        `SINAN_EACH(${lanes}) if (m[i]) p[i] = a[i];`,
      );
    case "total_sum":
    case "total_prod":
    case "total_max":
    case "total_min":
      return total(name, op.slice("total_".length) as ReduceKind, dtype, from, lanes, needs);
    default: {
      if (isFirst(op)) return first(name, op, element, lanes, needs);
      if (isExchange(op)) {
        const [half, distance] = op.split("_");
        return exchanged(name, element, lanes, needs, Number(distance), half === "upper");
      }
      const letters = parametersOf(op);
      const params = letters.map((a) => `${result} ${a}`).join(", ");
      const whole = isFloat(dtype) ? floatBody(op, dtype, lanes, needs) : wholeBody(op, dtype, lanes, needs);
      if (whole !== undefined) return define(result, name, params, whole);
      const lane = `${needs.scalar(op as ScalarOp, dtype, from)}(${letters.map((a) => `${a}[i]`).join(", ")})`;
      const scalar = laneWise(result, name, params, lanes, lane);
      const machine = instructions(op, dtype, lanes);
      const texts = (machine ?? []).map(([condition, value]): [string, string] => [
        condition,
        define(result, name, params, `return ${value};`),
      ]);
      return chosen(texts, scalar);
    }
  }
};

/** The one or the other by a mask. */
function choice(name: string, element: DType, mask: DType, lanes: number, needs: Needs): string {
  const [result, bits] = [needs.type(element, lanes), needs.type(mask, lanes)];
  const params = `${bits} m, ${result} a, ${result} b`;
  // With masks in registers of their own these are two operations; without, the blend is one.
  const plain = define(result, name, params, `return (${result})((${bits})b ^ (m & ((${bits})a ^ (${bits})b)));`);
  const size = bytesOf(element) * lanes;
  const choices: [string, string][] = [];
  if (element === "f32" && (size === 16 || size === 32)) {
    const [feature, blend] = size === 16 ? ["__SSE4_1__", "blendvps"] : ["__AVX__", "blendvps256"];
    const machine = `return __builtin_ia32_${blend}(b, a, (${result})m);`;
    choices.push([`defined(${feature}) && !defined(__AVX512VL__)`, define(result, name, params, machine)]);
  }
  // GCC 12 fails over masks of SVE that it puts together of several operations.
  const isSve = "defined(__ARM_FEATURE_SVE) && defined(__GNUC__) && !defined(__clang__)";
  if (size > 16) choices.push([isSve, laneWise(result, name, params, lanes, "m[i] ? a[i] : b[i]")]);
  return chosen(choices, plain);
}

/** Ops of floats by operators on whole vectors, on arguments a and b. */
function floatBody(op: VectorOp, dtype: DType, lanes: number, needs: Needs): string | undefined {
  const [type, mask] = [needs.type(dtype, lanes), needs.type(maskOf(dtype), lanes)];
  const choose = (m: string, a: string, b: string): string =>
    `${needs.vector("select", dtype, maskOf(dtype), lanes)}((${mask})(${m}), ${a}, ${b})`;
  const all = (x: string): string => `${needs.vector("allOf", dtype, dtype, lanes)}(${x})`;
  const sign = `${needs.vector("allOf", maskOf(dtype), maskOf(dtype), lanes)}(INT${8 * bytesOf(dtype)}_MIN)`;
  switch (op) {
    case "abs":
      return `return (${type})((${mask})a & ~${sign});`;
    case "sign":
      return `return ${choose(`a > ${all("0")}`, all("1"), choose(`a < ${all("0")}`, all("-1"), "a"))};`;
    case "farSin":
    case "farCos":
      return far(op, dtype, lanes, needs);
    case "rsqrt":
      return `return ${all("1")} / ${needs.vector("sqrt", dtype, dtype, lanes)}(a);`;
    // A NaN wins, and −0 is less than 0. Of `max` the second operand says alone what is to be added to put both right, so that a
    // running one waits for two operations; of `min` the bits of what is equal are the same but for the sign.
    case "max": {
      const added = choose("(b < 0) | (b > 0)", all("-0.0"), "b");
      return `const ${type} z = ${added}; return ${needs.vector("maxNumber", dtype, dtype, lanes)}(a, b) + z;`;
    }
    case "min": {
      const chosen = `${needs.vector("minNumber", dtype, dtype, lanes)}(b, a)`;
      const zeros = `(${type})((${mask})a | (${mask})b)`;
      return `${type} y = ${choose("a == b", zeros, chosen)}; return ${choose("a != a", "a", "y")};`;
    }
    default:
      return undefined;
  }
}

/** Lane after lane, unless all are 0, as they nearly always are. */
function far(op: "farSin" | "farCos", dtype: DType, lanes: number, needs: Needs): string {
  const type = needs.type(dtype, lanes);
  const words = Array.from({ length: (bytesOf(dtype) * lanes) / 8 }, (_, i) => `w[${i}]`);
  const near = op === "farSin" ? "a" : `${needs.vector("allOf", dtype, dtype, lanes)}(1)`;
  const isNear =
    dtype === "f32" && lanes === 16
      ? `\n#if defined(__AVX512F__)\nconst int near = __builtin_ia32_cmpps512_mask(a, (${type}){ 0 }, 4, (short)-1, 4) == 0;\n#else\n`
      : "";
  const plain = `uint64_t w[${words.length}]; memcpy(w, &a, sizeof a); const int near = ((${words.join(" | ")}) << 1) == 0;`;
  return `${isNear}${plain}${isNear ? "\n#endif\n" : " "}if (__builtin_expect(near, 1)) return ${near}; ${type} y = a; for (int i = 0; i < ${lanes}; i++) y[i] = ${needs.scalar(op, dtype, dtype)}(a[i]); return y;`;
}

/** Ops of integers likewise. */
function wholeBody(op: VectorOp, dtype: DType, lanes: number, needs: Needs): string | undefined {
  if (bytesOf(dtype) < 4) return undefined;
  const [type, mask] = [needs.type(dtype, lanes), needs.type(maskOf(dtype), lanes)];
  const unsigned = needs.type("u32", (bytesOf(dtype) / 4) * lanes);
  const choose = (m: string, a: string, b: string): string =>
    `${needs.vector("select", dtype, maskOf(dtype), lanes)}((${mask})(${m}), ${a}, ${b})`;
  const all = (x: string): string => `${needs.vector("allOf", dtype, dtype, lanes)}(${x})`;
  const bits = 8 * bytesOf(dtype);
  const isSigned = dtypes[dtype].kind === "int";
  switch (op) {
    case "max":
      return `return ${choose("a < b", "b", "a")};`;
    case "min":
      return `return ${choose("b < a", "b", "a")};`;
    case "abs":
      return isSigned ? `return ${choose(`a < ${all("0")}`, "-a", "a")};` : "return a;";
    case "sign":
      return `return (${type})(${mask})(a < ${all("0")}) - (${type})(${mask})(a > ${all("0")});`;
    case "shl":
    case "shr": {
      if (dtype === "i64") return undefined;
      const inside = `(${mask})((${unsigned})b < ${bits})`;
      if (op === "shr" && isSigned) return `return a >> ((b & ${inside}) | (31 & ~${inside}));`;
      return `return (a ${op === "shl" ? "<<" : ">>"} (b & ${bits - 1})) & (${type})${inside};`;
    }
    default:
      return undefined;
  }
}

/** What stands before all helpers. */
export const vectorPrelude = `/* Registers being few, GCC reads memory again for each use of a vector, and operands that cross cache lines hold the arithmetic up. */
#if defined(__SSE2__) && !defined(__AVX512F__)
#define SINAN_KEPT(v) __asm__("" : "+x"(v))
#else
#define SINAN_KEPT(v)
#endif
#define SINAN_LANES static inline __attribute__((always_inline))
#if defined(__clang__) || __GNUC__ >= 12
#define SINAN_SHUFFLES 1
#endif
#if defined(__clang__)
#define SINAN_EACH(n) _Pragma("clang loop unroll(full)") for (int i = 0; i < n; i++)
#else
#define SINAN_EACH(n) for (int i = 0; i < n; i++)
#endif`;

/** Vectors of registers of so many bytes. */
export const vectorsOf = (bytes: number): Vectors => ({
  bytes,
  chooses: bytes === 64,
  type,
  helper,
  place: (pointer, name) => `*(${name}_m *)(${pointer})`,
  pack: (name, lanes) => `(${name}){ ${lanes.join(", ")} }`,
  lane: (vector, i) => `${vector}[${i}]`,
  reinterpret: (name, value) => `(${name})${value}`,
});
