/** How long the vectors are whose length a compiler does not know: ARM's SVE. The processor is asked, by a function that is built and called. */
import type { Library } from "../ffi.ts";

/** Whether the compiler knows of such vectors, and was not told a length. */
export const isOpen = (macros: Readonly<Record<string, string>>): boolean =>
  "__ARM_FEATURE_SVE" in macros && !(Number(macros["__ARM_FEATURE_SVE_BITS"]) > 0);

/** The function, which is compiled for this processor. */
export const scalableText = `#include <stdint.h>
int32_t sinan_vector_bits(void) {
  uint64_t bytes = 0;
#ifdef __ARM_FEATURE_SVE
  __asm__("cntb %0" : "=r"(bytes));
#endif
  return (int32_t)(8 * bytes);
}
`;

/** The bits of a vector, of what was built of that text. */
export const vectorBits = (library: Library): number => library.function("int32_t sinan_vector_bits()")();
