/** Whether the processor's matrix registers may be used: the system is asked for them, as Linux gives a process their state only then, and a
 *  child of the process multiplies by them and by plain C. What is wrong with them is a line in the device's features, and the products go by
 *  other instructions: a fault ends the child alone. */
import { hasMatrix } from "sinan/south";
import type { Library } from "../ffi.ts";
import { c } from "../render/c.ts";
import type { NativeHardware } from "./hardware.ts";
import { byteKinds, castsOf, matrixText } from "../render/matrix-tiles.ts";

/** Small whole numbers, whose sums are exact in any order. Rows and columns are one tile of four registers and one of one, and some words are
 *  left over. */
const comparison = (kind: string, element: string, terms: number): string => {
  const [x, y] = castsOf(kind);
  const made = (i: string): string => (kind === "bf16" ? `bf16_bits(${i} % 17 - 8)` : `${i} * 29`);
  const read = (sign: string | undefined, at: string): string =>
    kind === "bf16" ? `bf16_value(${at})` : `${sign}${at}`;
  return `static int wrong_${kind}(sinan_tiles *t, int rows, int columns) {
  ${element} x[32 * words * ${terms}], y[words * 32 * ${terms}];
  for (int i = 0; i < (int)(sizeof x / sizeof *x); i++) x[i] = ${made("(i + i / 7)")}, y[i] = ${made("(3 * i + i / 11)")};
  ${kind === "bf16" ? "f32" : "i32"}x16 sums[64];
  if (rows == 20) product_${kind}(t, sums, x, words * 4, y, words, 20, 32);
  else product_${kind}(t, sums, x, words * 4, y, words, 5, 16);
  int wrong = 0;
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j++) {
      ${kind === "bf16" ? "float" : "int32_t"} sum = 0;
      for (int k = 0; k < words * ${terms}; k++)
        sum += ${read(x, `x[i * words * ${terms} + k]`)} * ${read(y, `y[(k / ${terms} * 32 + j) * ${terms} + k % ${terms}]`)};
      wrong |= sum != sums[2 * i + j / 16][j % 16];
    }
  return wrong;
}`;
};

/** Functions without arguments. `sinan_tiles_granted` gives 0 or the system's number of why not; `sinan_tiles_tried` 0, 1 if a sum is wrong,
 *  256 and the signal that ended the trial, or less than 0 if there was none. */
export const trialText = `${c.prelude}
${matrixText}
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
enum { words = 41 };
${comparison("bf16", "uint16_t", 2)}
${byteKinds.map((kind) => comparison(kind, "uint8_t", 4)).join("\n")}
int32_t sinan_tiles_granted(void) {
#if defined(SINAN_TILES) && defined(SYS_arch_prctl)
  /* ARCH_REQ_XCOMP_PERM of XTILEDATA, for all threads. */
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0 ? 0 : errno;
#elif defined(SINAN_TILES)
  return ENOSYS;
#else
  return 0;
#endif
}
static int tried(void) {
  sinan_tiles t = { 0 };
  int wrong = wrong_bf16(&t, 20, 32) | wrong_bf16(&t, 5, 16);
${byteKinds.map((kind) => `  wrong |= wrong_${kind}(&t, 20, 32) | wrong_${kind}(&t, 5, 16);`).join("\n")}
  tiles_release(&t);
  return wrong;
}
int32_t sinan_tiles_tried(void) {
  const pid_t child = fork();
  if (child < 0) return -errno;
  if (child == 0) _exit(tried());
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return -errno;
  return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}
`;

/** Why the registers are not used, in words that follow from the machine alone; undefined if they are. */
export function refusalOf(library: Library): string | undefined {
  const error = library.function("int32_t sinan_tiles_granted()")();
  if (error !== 0) return `the system does not grant them (error ${error})`;
  const end = library.function("int32_t sinan_tiles_tried()")();
  if (end === 0) return undefined;
  if (end < 0) return `they were not tried (error ${-end})`;
  return end < 256 ? "a product by them is wrong" : `a product by them was ended by signal ${end - 256}`;
}

/** What is known of a processor with such registers, after they were tried: without them if that went wrong.
 *  @param open  builds the trial and loads it */
export async function withTrial(facts: NativeHardware, open: () => Promise<Library>): Promise<NativeHardware> {
  if (!hasMatrix(facts)) return facts;
  const isWhole = ["amx-bf16", "amx-int8"].every((feature) => facts.features.includes(feature));
  const refusal = isWhole
    ? await open().then(refusalOf, () => "what tries them is not built")
    : "some of their products are missing";
  if (refusal === undefined) return facts;
  return { ...facts, features: [...facts.features.filter((f) => !f.startsWith("amx-")), `no amx: ${refusal}`] };
}
