/** What a compiler's predefined macros say of the processor that it compiles for, and how kernels are compiled for it. */

/** What schedules and the renderer are told of the processor. */
export interface NativeHardware {
  /** 32-bit elements of a vector register. */
  readonly lanes: number;
  readonly vectorRegisters: number;
  /** Static facts; "fma" and what else changes numbers among them. */
  readonly features: readonly string[];
  /** For the compiler, behind the language's own. */
  readonly flags: readonly string[];
}

/** Macros that say of a feature that the processor has it; of several each does. */
const featureMacros: Readonly<Record<string, string | readonly string[]>> = {
  sse2: "__SSE2__",
  "sse4.1": "__SSE4_1__",
  avx: "__AVX__",
  avx2: "__AVX2__",
  f16c: "__F16C__",
  avx512f: "__AVX512F__",
  avx512bw: "__AVX512BW__",
  avx512dq: "__AVX512DQ__",
  avx512vl: "__AVX512VL__",
  avx512vnni: "__AVX512VNNI__",
  avx512bf16: "__AVX512BF16__",
  avx512fp16: "__AVX512FP16__",
  avxvnni: "__AVXVNNI__",
  "amx-tile": ["__AMX_TILE__", "__AMXTILE__"],
  "amx-int8": ["__AMX_INT8__", "__AMXINT8__"],
  "amx-bf16": ["__AMX_BF16__", "__AMXBF16__"],
  "emulated-tiles": "SINAN_EMULATED_TILES",
  neon: "__ARM_NEON",
  dotprod: "__ARM_FEATURE_DOTPROD",
  "neon-fp16": "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC",
  "neon-bf16": "__ARM_FEATURE_BF16_VECTOR_ARITHMETIC",
  sve: "__ARM_FEATURE_SVE",
  rvv: "__riscv_vector",
};

/** Macros of which each says that a product and a sum can be one instruction. */
const fmaMacros = [
  "__FMA__",
  "__FMA4__",
  "__AVX512F__",
  "__ARM_FEATURE_FMA",
  "__aarch64__",
  "__riscv_f",
  "__riscv_flen",
];

/** Bits of the vectors that kernels have at most. */
const mostBits = 512;

/** The processor that a compiler compiles for.
 *  @param macros      what it defines by itself (`-dM -E`)
 *  @param vectorBits  of the processor's scalable vectors, where the compiler was told no length: SVE */
export function nativeHardware(macros: ReadonlyMap<string, string>, vectorBits = 0): NativeHardware {
  const has = (name: string): boolean => macros.has(name);
  const isWide = has("__AVX512F__") && has("__AVX512BW__") && has("__AVX512DQ__") && has("__AVX512VL__");
  const numberOf = (name: string): number => Number(macros.get(name) ?? 0);
  // Scalable vectors are taken at their length; RISC-V's, of which a target says the least, at that.
  const told = has("__ARM_FEATURE_SVE") ? numberOf("__ARM_FEATURE_SVE_BITS") : 0;
  const sve = has("__ARM_FEATURE_SVE") ? told || vectorBits : 0;
  const rvv = has("__riscv_vector") ? Math.min(numberOf("__riscv_v_min_vlen"), mostBits) : 0;
  // GCC (11 and 12 were tried) takes vectors that fill half of a register of 512 bits for others.
  const isSve = sve === 256 || (sve === 512 && has("__clang__"));
  const lanes = isWide ? 16 : has("__AVX__") ? 8 : isSve ? sve / 32 : rvv > 128 ? rvv / 32 : 4;
  const features = Object.entries(featureMacros).flatMap(([feature, macro]) =>
    [macro].flat().some(has) ? [feature] : [],
  );
  const isX86 = has("__x86_64__") || has("__i386__");
  return {
    lanes,
    vectorRegisters: isX86 && !isWide ? 16 : 32,
    features: [...(fmaMacros.some(has) ? ["fma"] : []), ...features],
    flags: [
      // Loops over lanes become whole vectors, of which compilers prefer half of one on some processors.
      ...(isWide ? ["-mprefer-vector-width=512"] : []),
      // Before its 12 GCC leaves loops over lanes as they are.
      ...(has("__GNUC__") && !has("__clang__") && numberOf("__GNUC__") < 12 ? ["-ftree-vectorize"] : []),
      // Vectors of a fixed width are registers of that width then, not pairs of NEON's.
      ...(isSve && told === 0 ? [`-msve-vector-bits=${sve}`] : []),
      // Clang below 16 takes no vectors of a fixed width for RISC-V's otherwise.
      ...(rvv >= 128 && has("__clang__") ? ["-mllvm", `-riscv-v-vector-bits-min=${rvv}`] : []),
    ],
  };
}
