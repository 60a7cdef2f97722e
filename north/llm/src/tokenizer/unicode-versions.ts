/** The Unicode versions of the Rust library, which JavaScript's engine is ahead of: its expressions have Unicode 16's
 *  characters, its normal forms, marks and punctuation Unicode 9's. To it, younger characters are not assigned, so a
 *  `tokenizer.json` means the same in every engine that knows at least as much as the library.
 *  Source of the lists: every code point was asked for, of `tokenizers` 0.23 and an engine with Unicode 17
 *  (tests/fixtures/tokenizer/make_characters.py has what the library answers). */

type Ranges = readonly (readonly [first: number, last: number])[];

function ranges(text: string): Ranges {
  return text.split(/\s+/).map((range) => {
    const [first = "", last = first] = range.split("-");
    return [Number.parseInt(first, 16), Number.parseInt(last, 16)];
  });
}

/** As members of a class in brackets. */
const members = (list: Ranges): string =>
  list.map(([first, last]) => `\\u{${first.toString(16)}}-\\u{${last.toString(16)}}`).join("");

const since17 =
  ranges(`88f c5c cdc 1acf-1add 1ae0-1aeb 20c1 2b96 a7ce-a7cf a7d2 a7d4 a7f1 fbc3-fbd2 fd90-fd91 fdc8-fdce 10940-10959
  10ec5-10ec7 10ed0-10ed8 10efa-10efb 11b60-11b67 11db0-11ddb 11de0-11de9 16ea0-16eb8 16ebb-16ed3 16ff2-16ff6 187f8-187ff
  18d09-18d1e 18d80-18df2 1ccfa-1ccfc 1ceba-1ced0 1cee0-1cef0 1e6c0-1e6de 1e6e0-1e6f5 1e6fe-1e6ff 1f6d8 1f777-1f77a
  1f8d0-1f8d8 1fa54-1fa57 1fa8a 1fa8e 1fac8 1facd 1faea 1faef 1fbfa 2b73a-2b73f 2cea2-2cead 323b0-33479`);

/** What has a normal form or a combining class, is a mark or is punctuation. The punctuation is younger than Unicode 8. */
const since10 =
  ranges(`61d 7fd 897-89f 8ca-8d3 9fd-9fe a76 afa-aff b55 c04 c3c c77 c84 cf3 d00 d3b-d3c d81 eba ece 1715 180f 1abf-1add
  1ae0-1aeb 1b4e-1b4f 1b7d-1b7f 1cf7 1df6-1dfa 2e43-2e4f 2e52-2e5d 32ff a7f1-a7f4 a82c a8ff ab69 105c9 105e4 10781-10785
  10787-107b0 107b2-107ba 10d24-10d27 10d69-10d6e 10eab-10ead 10ed0 10efa-10eff 10f46-10f50 10f55-10f59 10f82-10f89 11070
  11073-11074 110c2 11145-11146 111c9 111ce-111cf 11241 1133b 11383 11385 1138e 11391 113b8-113c0 113c2 113c5 113c7-113ca
  113cc-113d0 113d2 113d4-113d5 113d7-113d8 113e1-113e2 1144b-1144f 1145a-1145b 1145d-1145e 11660-1166c 116b9 1182c-1183b
  11930-11935 11937-11938 1193b-1193e 11940 11942-11946 119d1-119d7 119da-119e0 119e2 119e4 11a01-11a0a 11a33-11a39
  11a3b-11a47 11a51-11a5b 11a8a-11a9c 11a9e-11aa2 11b00-11b09 11b60-11b67 11be1 11c41-11c45 11c70-11c71 11d31-11d36 11d3a
  11d3c-11d3d 11d3f-11d45 11d47 11d8a-11d8e 11d90-11d91 11d93-11d97 11ef3-11ef8 11f00-11f01 11f03 11f34-11f3a 11f3e-11f4f
  11f5a 11fff 12ff1-12ff2 13440 13447-13455 1611e-1612f 16d68-16d6a 16d6d-16d6f 16e97-16e9a 16f4f 16f7f-16f87 16fe2 16fe4
  16ff0-16ff1 1ccd6-1ccf9 1cf00-1cf2d 1cf30-1cf46 1e030-1e06d 1e08f 1e130-1e136 1e2ae 1e2ec-1e2ef 1e4ec-1e4ef 1e5ee-1e5ef
  1e5ff 1e6e3 1e6e6 1e6ee-1e6ef 1e6f5 1e95e-1e95f 1f16c 1fbf0-1fbf9`);

/** A code point that no version assigned. */
export const unassigned = "\u0378";

/** Whether Unicode 17 assigned this code point. */
export function isSince17(codePoint: number): boolean {
  const range = since17.find(([, last]) => codePoint <= last);
  return range !== undefined && codePoint >= range[0];
}

const later = `[${members(since17)}]`;

/** A class (members of brackets, for the flag `v`) without the characters of Unicode 17. */
export const before17 = (inside: string): string => `[[${inside}]--${later}]`;

/** A property, as Unicode 16 had it. U+0295 was small then, as its neighbour U+0296 still is. */
export function propertyOf16(property: string): string {
  const has = (character: string): boolean => new RegExp(property, "v").test(character);
  const known = has(unassigned) ? `[${property}${later}]` : before17(property);
  return has("\u0296") ? `[${known}\\u{295}]` : `[${known}--\\u{295}]`;
}

/** The meaning of `\w` in the regex crate of Rust. */
export const word = before17(String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}`);

/** `\p{M}` and punctuation, ASCII's symbols among it, as the library has them: U+1CF2, U+1CF3 and U+111C9, U+166D were such. */
export const marks = new RegExp(`[[\\p{M}--[${members(since10)}]]\\u{1cf2}\\u{1cf3}]`, "gv");
export const punctuation = new RegExp(
  `[[[\\p{P}\\p{S}]&&\\p{ASCII}][\\p{P}--[${members(since10)}]]\\u{166d}\\u{111c9}]`,
  "gv",
);

const young = new RegExp(`[${members(since10)}]`, "v");
const older = new RegExp(`[^${members(since10)}]+`, "gv");

/** A normal form of Unicode 9: what is younger stays, and nothing is moved past it or composed with it. */
export function normalized(text: string, form: "NFC" | "NFD" | "NFKC" | "NFKD"): string {
  if (!young.test(text)) return text.normalize(form);
  return text.replace(older, (part) => part.normalize(form));
}
