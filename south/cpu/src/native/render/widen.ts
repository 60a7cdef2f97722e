/** Narrow lanes as lanes of 32 bits. GCC takes such a conversion of what lies in memory apart, lane by lane, unless it is named. */

/** The statements that return vector `a` as 32-bit lanes, and the condition under which they can be compiled; undefined where the language's
 *  own conversion will do.
 *  @param from  the bits of a lane */
export function widened(
  from: 8 | 16,
  isSigned: boolean,
  lanes: number,
  result: string,
): { readonly condition: string; readonly body: string } | undefined {
  if (lanes !== 16 && lanes !== 8) return undefined;
  const name = `__builtin_ia32_pmov${isSigned ? "s" : "z"}x${from === 8 ? "b" : "w"}d${lanes * 32}`;
  const given = from === 8 ? "char" : "short";
  // Eight bytes are half of the register that the instruction takes.
  const whole = `typedef ${given} given __attribute__((vector_size(${Math.max(16, (from * lanes) / 8)})));`;
  const half = from * lanes < 128;
  const argument = half ? "(given)(halves){ (long long)a, 0 }" : "(given)a";
  const types = half ? `${whole} typedef long long halves __attribute__((vector_size(16)));` : whole;
  const isFull = lanes === 16;
  const zeros = "typedef int zeros __attribute__((vector_size(64)));";
  return {
    condition: `defined(__GNUC__) && !defined(__clang__) && defined(${isFull ? "__AVX512F__" : "__AVX2__"})`,
    body: isFull
      ? `${types} ${zeros} return (${result})${name}_mask(${argument}, (zeros){ 0 }, (short)-1);`
      : `${types} return (${result})${name}(${argument});`,
  };
}
