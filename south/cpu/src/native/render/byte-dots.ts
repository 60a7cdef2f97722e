/** Products of bytes in C: four of each lane are added to it by one instruction of AVX512-VNNI, AVX-VNNI or NEON's dot product, and by widening
 *  elsewhere; and how bytes come into lanes. The sums wrap, as i32 does, and are the same everywhere. */
import type { Needs, VectorOp } from "sinan/south";
import { chosen } from "./lane-text.ts";

/** Of the factors; `l` is one without a sign that is at most 127. */
type Signs = "us" | "ls" | "ss" | "uu";
/** What makes lanes of memory. */
type Load = "spread4" | "whole4" | "rows4" | "turn4" | "zip4";

const isDot = (op: VectorOp): op is `dot4_${Signs}` => op.startsWith("dot4_");
const isLoad = (op: VectorOp): op is Load => ["spread4", "whole4", "rows4", "turn4", "zip4"].includes(op);

/** The helper's definition; undefined for another op. */
export function byteHelper(name: string, op: VectorOp, lanes: number, needs: Needs): string | undefined {
  if (isDot(op)) return dot(name, op.slice("dot4_".length) as Signs, lanes, needs);
  if (isLoad(op)) return loading(name, op, lanes, needs);
  return undefined;
}

/** x86 names its vectors by their bits. */
const prefixes: Readonly<Record<number, string>> = { 16: "_mm512", 8: "_mm256", 4: "_mm" };
const sizes: Readonly<Record<number, string>> = { 16: "512", 8: "256", 4: "128" };

/** The instruction multiplies bytes without a sign by such with one. A factor that has the other kind of sign is moved by 128, and the sum by
 *  as many times what the other factors add up to, which several sums have in common. */
const byInstruction: { readonly [S in Signs]: (dot: (a: string, x: string, y: string) => string) => string } = {
  us: (dot) => dot("a", "x", "y"),
  ls: (dot) => dot("a", "x", "y"),
  ss: (dot) => `${dot("a", "x ^ 128", "y")} - ${dot("z", "z8 + 128", "y")}`,
  uu: (dot) => `${dot("a", "x", "y ^ 128")} + (${dot("z", "x", "z8 + 1")} << 7)`,
};

function dot(name: string, signs: Signs, lanes: number, needs: Needs): string {
  const [sum, bytes, half] = [needs.type("i32", lanes), needs.type("u8", 4 * lanes), needs.type("i16", 2 * lanes)];
  const unsigned = needs.type("u16", 2 * lanes);
  const define = (body: string): string => `SINAN_LANES ${sum} ${name}(${sum} a, ${bytes} x, ${bytes} y) { ${body} }`;
  const zeros = signs === "us" || signs === "ls" ? "" : `const ${sum} z = { 0 }; const ${bytes} z8 = { 0 }; `;
  const prefix = prefixes[lanes];
  const size = sizes[lanes];
  const choices: (readonly [string, string])[] = [];
  if (prefix !== undefined && size !== undefined) {
    const type = `__m${size}i`;
    const vnni = (suffix: string): string => {
      const call = (a: string, x: string, y: string): string =>
        `(${sum})${prefix}_dpbusd_${suffix}epi32((${type})${a === "a" ? "a" : `(${a})`}, (${type})(${x}), (${type})(${y}))`;
      return `#include <immintrin.h>\n${define(`${zeros}return ${byInstruction[signs](call)};`)}`;
    };
    const vl = lanes === 16 ? "" : " && defined(__AVX512VL__)";
    choices.push([`defined(__AVX512VNNI__)${vl}`, vnni("")]);
    if (lanes < 16) choices.push(["defined(__AVXVNNI__)", vnni("avx_")]);
    // Even and odd bytes as numbers of 16 bits, of which pairs are multiplied and added.
    const feature = { 16: "__AVX512BW__", 8: "__AVX2__", 4: "__SSE2__" }[lanes];
    const even = (v: string, isSigned: boolean): string =>
      isSigned ? `(((${half})${v} << 8) >> 8)` : `((${half})${v} & 255)`;
    const odd = (v: string, isSigned: boolean): string =>
      isSigned ? `((${half})${v} >> 8)` : `(${half})((${unsigned})${v} >> 8)`;
    const [first, second] = [signs === "ss", signs !== "uu"];
    const pairs = (part: (v: string, isSigned: boolean) => string): string =>
      `(${sum})${prefix}_madd_epi16((${type})(${part("x", first)}), (${type})(${part("y", second)}))`;
    const all = `${pairs(even)} + ${pairs(odd)}`;
    // Two products of small ones are added in 16 bits.
    const two = `${prefix}_maddubs_epi16((${type})x, (${type})y)`;
    const small = `(${sum})${prefix}_madd_epi16(${two}, ${prefix}_set1_epi16(1))`;
    const isSmall = signs === "ls" && lanes > 4;
    // Compilers would multiply all terms of a sum first, add them in another order, and keep them on the stack until then.
    const inOrder = `a += ${isSmall ? small : all}; __asm__("" : "+${lanes === 16 ? "v" : "x"}"(a)); return a;`;
    choices.push([`defined(${feature})`, `#include <immintrin.h>\n${define(inOrder)}`]);
  }
  if (lanes === 4) {
    const to = (kind: "s" | "u", v: string): string => `(${kind === "s" ? "int8x16_t" : "uint8x16_t"})(${v})`;
    const signed = (x: string, y: string, a = "a"): string =>
      `(${sum})vdotq_s32((int32x4_t)${a}, ${to("s", x)}, ${to("s", y)})`;
    const body = {
      ss: `return ${signed("x", "y")};`,
      ls: `return ${signed("x", "y")};`,
      us: `const ${sum} z = { 0 }; const ${bytes} z8 = { 0 }; return ${signed("x ^ 128", "y")} - ${signed("z8 + 128", "y", "z")};`,
      uu: `return (${sum})vdotq_u32((uint32x4_t)a, ${to("u", "x")}, ${to("u", "y")});`,
    }[signs];
    choices.push(["defined(__ARM_FEATURE_DOTPROD)", `#include <arm_neon.h>\n${define(body)}`]);
  }
  const [p, q] = [signs === "ss" ? "(int8_t)" : "", signs === "uu" ? "" : "(int8_t)"];
  const term = (t: number): string => `${p}x[4 * i + ${t}] * ${q}y[4 * i + ${t}]`;
  const lane = define(`SINAN_EACH(${lanes}) a[i] += ${[0, 1, 2, 3].map(term).join(" + ")}; return a;`);
  return chosen(choices, lane);
}

/** Four, or each four, of the bytes that lie from `p` on, `s` bytes from one row to the next. */
function loading(name: string, op: Load, lanes: number, needs: Needs): string {
  const [words, bytes] = [needs.type("i32", lanes), needs.type("u8", 4 * lanes)];
  const define = (params: string, body: string, result: string = bytes): string =>
    `SINAN_LANES ${result} ${name}(${params}) { ${body} }`;
  const rows = "const void *p, int64_t s";
  const row = (i: string): string => `(const char *)p + ${i} * s`;
  switch (op) {
    case "spread4":
      return define(
        "const void *p",
        `int32_t x; memcpy(&x, p, 4); return (${bytes})(${words}){ ${new Array(lanes).fill("x").join(", ")} };`,
      );
    case "whole4":
      return define("const void *p", `${bytes} y; memcpy(&y, p, sizeof y); return y;`);
    case "rows4":
      return define(
        rows,
        `int32_t y[${lanes}]; for (int i = 0; i < ${lanes}; i++) memcpy(y + i, ${row("i")}, 4); ${words} z; memcpy(&z, y, sizeof z); return (${bytes})z;`,
      );
    case "zip4": {
      const plain = define(
        rows,
        `${bytes} y; SINAN_EACH(${4 * lanes}) y[i] = *((const uint8_t *)p + (i & 3) * s + (i >> 2)); return y;`,
      );
      return chosen(lanes === 16 ? [["defined(__AVX512F__)", zip16(rows, row, bytes, name)]] : [], plain);
    }
    default: {
      const plain = define(
        `${bytes} *y, ${rows}`,
        `${words} z[4]; for (int i = 0; i < ${lanes}; i++) { int32_t x[4]; memcpy(x, ${row("i")}, 16); for (int j = 0; j < 4; j++) z[j][i] = x[j]; } for (int j = 0; j < 4; j++) y[j] = (${bytes})z[j];`,
        "void",
      );
      return chosen(turned(name, lanes, bytes, row, rows), plain);
    }
  }
}

/** Every byte of four rows of 16, those of one column side by side. */
function zip16(rows: string, row: (i: string) => string, bytes: string, name: string): string {
  const loads = [0, 1, 2, 3].map((i) => `r${i} = _mm_loadu_si128((const void *)(${row(String(i))}))`).join(", ");
  const pairs = ["lo", "hi"].flatMap((half) =>
    [0, 2].map((i) => `${half}${i} = _mm_unpack${half}_epi8(r${i}, r${i + 1})`),
  );
  const fours = ["lo", "hi"].flatMap((outer) =>
    ["lo", "hi"].map((half) => `_mm_unpack${half}_epi16(${outer}0, ${outer}2)`),
  );
  const joined = fours
    .slice(1)
    .reduce(
      (whole, part, i) => `_mm512_inserti32x4(${whole}, ${part}, ${i + 1})`,
      `_mm512_castsi128_si512(${fours[0]})`,
    );
  return `#include <immintrin.h>\nSINAN_LANES ${bytes} ${name}(${rows}) { const __m128i ${loads}; const __m128i ${pairs.join(", ")}; return (${bytes})${joined}; }`;
}

/** Rows of 16 bytes as four columns of words: rows i, i + L/4 … lie in one vector, whose quarters are turned by exchanging. */
function turned(
  name: string,
  lanes: number,
  bytes: string,
  row: (i: string) => string,
  rows: string,
): (readonly [string, string])[] {
  const [prefix, size] = [prefixes[lanes], sizes[lanes]];
  if (prefix === undefined || size === undefined) return [];
  const feature = { 16: "__AVX512F__", 8: "__AVX2__", 4: "__SSE2__" }[lanes];
  const type = `__m${size}i`;
  const load = (i: number): string => `_mm_loadu_si128((const void *)(${row(String(i))}))`;
  const joined = (i: number): string => {
    if (lanes === 4) return load(i);
    const [cast, insert] =
      lanes === 16
        ? ["_mm512_castsi128_si512", "_mm512_inserti32x4"]
        : ["_mm256_castsi128_si256", "_mm256_inserti128_si256"];
    let whole = `${cast}(${load(i)})`;
    for (let part = 1; part < lanes / 4; part++) whole = `${insert}(${whole}, ${load(i + 4 * part)}, ${part})`;
    return whole;
  };
  const all = [0, 1, 2, 3].map((i) => `r${i} = ${joined(i)}`).join(", ");
  const pairs = [0, 2].flatMap((i) =>
    (["lo", "hi"] as const).map((half) => `${half}${i} = ${prefix}_unpack${half}_epi32(r${i}, r${i + 1})`),
  );
  const columns = (["lo", "hi"] as const).flatMap((outer) =>
    (["lo", "hi"] as const).map((half) => `(${bytes})${prefix}_unpack${half}_epi64(${outer}0, ${outer}2)`),
  );
  const body = `const ${type} ${all}; const ${type} ${pairs.join(", ")}; ${columns.map((c, j) => `y[${j}] = ${c};`).join(" ")}`;
  return [
    [`defined(${feature})`, `#include <immintrin.h>\nSINAN_LANES void ${name}(${bytes} *y, ${rows}) { ${body} }`],
  ];
}
