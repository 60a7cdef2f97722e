/** The byte alphabet of GPT-2's byte-level BPE: each of the 256 bytes is written as one printable character, so that a
 *  vocabulary is ordinary text. Printable Latin-1 stands for itself, the other 68 bytes are U+0100 and up, in order. */

const isPlain = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);

/** Character of each byte, indexed by byte. Source: `bytes_to_unicode` of GPT-2's encoder.py. */
export const byteCharacters: readonly string[] = alphabet();

const byteOfCharacter: ReadonlyMap<string, number> = new Map(
  byteCharacters.map((character, byte) => [character, byte]),
);

/** The 256 bytes in the order of their characters' code points: the order in which a trained vocabulary lists them. */
export const bytesByCharacter: readonly number[] = byteCharacters
  .map((_, byte) => byte)
  .sort((a, b) => codePoint(a) - codePoint(b));

function alphabet(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPlain(byte) ? byte : next++));
}

function codePoint(byte: number): number {
  return byteCharacters[byte]?.charCodeAt(0) ?? 0;
}

/** The bytes as text in the byte alphabet. */
export function bytesToCharacters(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byteCharacters[byte];
  return text;
}

/** The bytes that text in the byte alphabet stands for, or null if a character is not of that alphabet. */
export function charactersToBytes(text: string): Uint8Array | null {
  const bytes = new Uint8Array(text.length);
  let length = 0;
  for (const character of text) {
    const byte = byteOfCharacter.get(character);
    if (byte === undefined) return null;
    bytes[length++] = byte;
  }
  return bytes.subarray(0, length);
}
