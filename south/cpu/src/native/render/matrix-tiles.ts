/** Matrix registers in C: Intel's AMX by its intrinsics, and by the arithmetic that Intel documents of them elsewhere, so that they can be tested
 *  where they are not (SDM, volume 2: LDTILECFG, TILELOADD, TDPBF16PS, TDPBSSD).
 *
 *  A tile of results is four registers of 16 × 16: 0 and 1 above, 2 and 3 below. 4 and 5 hold rows of the one operand, 16 words of each; 6 and 7
 *  hold 16 words of columns of the other one, whose panels have 32. Leftover rows and columns are registers with fewer rows or none; leftover
 *  words are copied beside zeros. A thread configures its registers when a tile has another shape than the one before, and lets go of them at
 *  the end of each part, so that the system has nothing of them to save.
 *
 *  Of bf16, the products of the first halves of the 16 words are added up, and so are those of the second halves, by fused multiply-adds; the two
 *  sums are added, and their sum is added to the result. Denormals are zeros, of what is given and of what comes out. */
import type { DType, Needs, VectorOp } from "sinan/south";
import { types } from "./c-types.ts";

/** Whether the compiler compiles for a processor that has them: Clang before its 16 has other names. With a macro of ours they are emulated nevertheless. */
const condition = `${["TILE", "BF16", "INT8"].map((name) => `(defined(__AMX_${name}__) || defined(__AMX${name}__))`).join(" && ")} && !defined(SINAN_EMULATED_TILES)`;

/** Signs of the bytes of both operands. */
export const byteKinds = ["ss", "su", "us", "uu"] as const;

/** The helper's definition; undefined for another op. */
export function matrixHelper(name: string, op: VectorOp, needs: Needs): string | undefined {
  if (op === "matrix") return tilesText;
  if (!op.startsWith("matrix_")) return undefined;
  needs.vector("matrix", "i32", "i32", 16);
  const kind = op.slice("matrix_".length);
  return productText(name, kind, needs.type(resultOf(kind), 16));
}

/** What makes bytes of both operands the numbers that they are. */
export const castsOf = (kind: string): string[] => kind.split("").map((sign) => (sign === "s" ? "(int8_t)" : ""));

const resultOf = (kind: string): DType => (kind === "bf16" ? "f32" : "i32");

/** Of up to 32 rows and columns. Rows of x are `row` bytes apart, the words of a row of y are those of 32 columns. */
const productText = (name: string, kind: string, vector: string): string =>
  `TILE_FUNCTION void ${name}(sinan_tiles *t, ${vector} *sums, const void *x, int64_t row, const void *y, int64_t words, int rows, int columns) {
  const int below = rows > 16, beside = columns > 16;
  const char *a = x, *b = y;
  _Alignas(64) char ends[4096];
  tiles_shape(t, rows, columns);
  TILE_MEMORY(a);
  TILE_ZERO(t, 0);
  if (beside) TILE_ZERO(t, 1);
  if (below) TILE_ZERO(t, 2);
  if (below && beside) TILE_ZERO(t, 3);
  for (int64_t k = 0; k < words; k += 16) {
    int64_t step = row;
    if (words - k < 16) {
      memset(ends, 0, sizeof ends);
      for (int i = 0; i < rows; i++) memcpy(ends + 64 * i, a + row * i, 4 * (words - k));
      memcpy(ends + 2048, b, 128 * (words - k));
      a = ends, b = ends + 2048, step = 64;
      TILE_MEMORY(a);
    }
    TILE_LOAD(t, 4, a, step);
    TILE_LOAD(t, 6, b, 128);
    TILE_DOTS_${kind}(t, 0, 4, 6);
    if (beside) {
      TILE_LOAD(t, 7, b + 64, 128);
      TILE_DOTS_${kind}(t, 1, 4, 7);
    }
    if (below) {
      TILE_LOAD(t, 5, a + 16 * step, step);
      TILE_DOTS_${kind}(t, 2, 5, 6);
      if (beside) TILE_DOTS_${kind}(t, 3, 5, 7);
    }
    a += 64, b += 2048;
  }
  TILE_STORE(t, 0, sums, 128);
  if (beside) TILE_STORE(t, 1, sums + 1, 128);
  if (below) TILE_STORE(t, 2, sums + 32, 128);
  if (below && beside) TILE_STORE(t, 3, sums + 33, 128);
}`;

/** A function's body with registers for those of its tiles. */
export const withTiles = (body: string): readonly string[] =>
  body.includes("&tiles") ? ["  sinan_tiles tiles = { 0 };", body, "  tiles_release(&tiles);"] : [body];

/** Registers, of the processor or emulated. What is wrong with a configuration or with operands traps, as it does in the processor. */
const tilesText = `#if ${condition}
#include <immintrin.h>
#define SINAN_TILES 1
#define TILE_FUNCTION static inline __attribute__((always_inline))
typedef struct { int shape; } sinan_tiles;
#define TILE_CONFIGURE(t, c) _tile_loadconfig(c)
#define TILE_RELEASE(t) _tile_release()
#define TILE_ZERO(t, n) _tile_zero(n)
#define TILE_LOAD(t, n, p, s) _tile_loadd(n, p, s)
#define TILE_STORE(t, n, p, s) _tile_stored(n, p, s)
#define TILE_DOTS_bf16(t, c, a, b) _tile_dpbf16ps(c, a, b)
${byteKinds.map((kind) => `#define TILE_DOTS_${kind}(t, c, a, b) _tile_dpb${kind}d(c, a, b)`).join("\n")}
#else
#define TILE_FUNCTION static __attribute__((noinline))
typedef struct { int shape; uint8_t bytes[8], rows[8]; _Alignas(64) uint8_t data[8][16][64]; } sinan_tiles;
static inline void tile_require(int holds) { if (!holds) __builtin_trap(); }
static inline void TILE_CONFIGURE(sinan_tiles *t, const uint8_t *c) {
  tile_require(c[0] == 1);
  for (int i = 1; i < 64; i++) tile_require(c[i] == 0 || (i >= 16 && i < 32 && i % 2 == 0) || (i >= 48 && i < 56));
  for (int i = 0; i < 8; i++) {
    t->bytes[i] = c[16 + 2 * i];
    t->rows[i] = c[48 + i];
    tile_require(t->bytes[i] <= 64 && t->rows[i] <= 16 && (t->bytes[i] == 0) == (t->rows[i] == 0));
  }
  memset(t->data, 0, sizeof t->data);
}
static inline void TILE_RELEASE(sinan_tiles *t) {
  memset(t->rows, 0, sizeof t->rows);
  memset(t->bytes, 0, sizeof t->bytes);
}
static inline void TILE_ZERO(sinan_tiles *t, int n) {
  tile_require(t->rows[n]);
  memset(t->data[n], 0, sizeof t->data[n]);
}
static inline void TILE_LOAD(sinan_tiles *t, int n, const void *p, int64_t stride) {
  TILE_ZERO(t, n);
  for (int i = 0; i < t->rows[n]; i++) memcpy(t->data[n][i], (const char *)p + i * stride, t->bytes[n]);
}
static inline void TILE_STORE(sinan_tiles *t, int n, void *p, int64_t stride) {
  tile_require(t->rows[n]);
  for (int i = 0; i < t->rows[n]; i++) memcpy((char *)p + i * stride, t->data[n][i], t->bytes[n]);
}
static inline void tile_operands(const sinan_tiles *t, int c, int a, int b) {
  tile_require(c != a && c != b && a != b && t->rows[c] && t->rows[a] && t->rows[b] && t->bytes[c] % 4 == 0 && t->bytes[a] % 4 == 0);
  tile_require(t->rows[c] == t->rows[a] && t->bytes[c] == t->bytes[b] && t->bytes[a] / 4 == t->rows[b]);
}
static inline float tile_flushed(float a) { return fabsf(a) < FLT_MIN ? copysignf(0, a) : a; }
static inline float tile_half(const uint8_t *row, int i) {
  uint16_t a;
  memcpy(&a, row + 2 * i, 2);
  return tile_flushed(bf16_value(a));
}
static inline void TILE_DOTS_bf16(sinan_tiles *t, int c, int a, int b) {
  tile_operands(t, c, a, b);
  for (int i = 0; i < t->rows[c]; i++) {
    float sums[32] = { 0 };
    for (int k = 0; k < t->rows[b]; k++) {
      const float x[2] = { tile_half(t->data[a][i], 2 * k), tile_half(t->data[a][i], 2 * k + 1) };
      for (int j = 0; j < t->bytes[c] / 2; j++) sums[j] = tile_flushed(fmaf(x[j & 1], tile_half(t->data[b][k], j), sums[j]));
    }
    for (int j = 0; j < t->bytes[c] / 4; j++) {
      float y;
      memcpy(&y, t->data[c][i] + 4 * j, 4);
      y = tile_flushed(tile_flushed(y) + tile_flushed(sums[2 * j] + sums[2 * j + 1]));
      memcpy(t->data[c][i] + 4 * j, &y, 4);
    }
  }
}
${byteKinds
  .map((kind) => {
    const [x, y] = castsOf(kind);
    return `static inline void TILE_DOTS_${kind}(sinan_tiles *t, int c, int a, int b) {
  tile_operands(t, c, a, b);
  for (int i = 0; i < t->rows[c]; i++)
    for (int j = 0; j < t->bytes[c] / 4; j++) {
      int32_t y;
      memcpy(&y, t->data[c][i] + 4 * j, 4);
      for (int k = 0; k < t->rows[b]; k++)
        for (int q = 0; q < 4; q++) y += ${x}t->data[a][i][4 * k + q] * ${y}t->data[b][k][4 * j + q];
      memcpy(t->data[c][i] + 4 * j, &y, 4);
    }
}`;
  })
  .join("\n")}
#endif
/* What registers are given lies in memory: compilers do not know that their instructions read it. */
#define TILE_MEMORY(p) __asm__ volatile("" : : "r"(p) : "memory")
TILE_FUNCTION void tiles_shape(sinan_tiles *t, int rows, int columns) {
  const int shape = rows << 8 | columns;
  if (t->shape == shape) return;
  t->shape = shape;
  const int above = rows < 16 ? rows : 16, below = rows - above, beside = columns > 16;
  const uint8_t heights[8] = { above, beside ? above : 0, below, beside ? below : 0, above, below, 16, beside ? 16 : 0 };
  _Alignas(64) uint8_t c[64] = { 1 };
  for (int i = 0; i < 8; i++) c[16 + 2 * i] = heights[i] ? 64 : 0, c[48 + i] = heights[i];
  TILE_MEMORY(c);
  TILE_CONFIGURE(t, c);
}
static inline void tiles_release(sinan_tiles *t) {
  if (t->shape) TILE_RELEASE(t);
  t->shape = 0;
}`;

/** All of it by itself, behind the language's prelude. */
export const matrixText: string = [
  tilesText,
  ...(["f32", "i32"] as const).map(
    (element) => `typedef ${types[element]} ${element}x16 __attribute__((vector_size(64)));`,
  ),
  ...["bf16", ...byteKinds].map((kind) => productText(`product_${kind}`, kind, `${resultOf(kind)}x16`)),
].join("\n");
