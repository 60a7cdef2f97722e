/** Bits per byte: the loss of a language model in a unit that does not depend on its vocabulary. */

import { ArgumentError } from "sinan";

/** `natsPerToken * tokens / (bytes * ln 2)`: the bits that the model spends on a byte of the text. A model over bytes that
 *  knows nothing spends 8; good text compressors spend about 2 on English. Comparable between tokenizers, which the loss
 *  per token is not (Gao et al. 2020, arXiv:2101.00027, section 3.1).
 *
 *  @param natsPerToken mean negative log-likelihood of a token (natural logarithm), as cross entropy gives it
 *  @param tokens       number of tokens that the mean was taken over
 *  @param bytes        UTF-8 bytes of the text that those tokens stand for
 *  @throws ArgumentError if `tokens` is negative or not a number, or `bytes` is not above zero
 *  @example bitsPerByte(Math.log(256), 10, 10)   // 8 */
export function bitsPerByte(natsPerToken: number, tokens: number, bytes: number): number {
  if (!(tokens >= 0)) throw new ArgumentError(`bitsPerByte: expected a number of tokens from 0 up, got ${tokens}`);
  if (!(bytes > 0)) {
    throw new ArgumentError(`bitsPerByte: expected the size of the text in bytes, above 0, got ${bytes}`);
  }
  return (natsPerToken * tokens) / (bytes * Math.LN2);
}
