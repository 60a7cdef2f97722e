/** Ids of a text that comes in parts. A part is encoded up to a place where the tokenizer does not look across, so that the ids
 *  are those of the whole text. */

/** What is asked of a tokenizer: those of `@sinan/llm` are such. */
export interface Encoder {
  /** Ids are 0 to `vocabSize` − 1. */
  readonly vocabSize: number;
  /** Ids of a text, special tokens in it read as ordinary text. */
  encode(text: string, options: { readonly specialTokensAsText: true }): ArrayLike<number>;
  /** Its content, by which it is known again. */
  toJSON(): unknown;
}

/** Characters that are encoded at a time. */
const span = 1 << 18;
/** How much text on both sides of a place says whether the tokenizer looks across it. */
const context = 128;
/** How many places are tried. */
const tries = 8;

export interface PartEncoder {
  /** Ids of what can be encoded now that this text has come. */
  push(text: string): Generator<ArrayLike<number>>;
  /** Ids of what is left. Then another text may begin. */
  end(): Generator<ArrayLike<number>>;
}

/** @param tokenizer  The ids are those of the whole text where it does not look across blanks. One that joins what no blank
 *                    divides for 262,144 characters, or treats the beginning of each text in a way of its own, may have other ids
 *                    at the places where the text was cut. */
export function partEncoder(tokenizer: Encoder): PartEncoder {
  const encode = (text: string): ArrayLike<number> => tokenizer.encode(text, { specialTokensAsText: true });
  let held = "";
  return {
    *push(text) {
      held += text;
      while (held.length > span + context) {
        const at = placeToCut(held, encode);
        yield encode(held.slice(0, at));
        held = held.slice(at);
      }
    },
    *end() {
      const rest = held;
      held = "";
      if (rest !== "") yield encode(rest);
    },
  };
}

/** The last good place before `span`: before a blank between a word and a letter, otherwise after a line's end, otherwise between
 *  any two characters. */
function placeToCut(text: string, encode: (text: string) => ArrayLike<number>): number {
  let first: number | undefined;
  let left = tries;
  for (const pattern of [/\S (?=\p{L})/gu, /\S\n(?=\S)/gu]) {
    const window = text.slice(span / 2, span + 1);
    const places = [...window.matchAll(pattern)].map(({ index, 0: { length } }) => {
      const end = span / 2 + index + length;
      return text[end - 1] === " " ? end - 1 : end;
    });
    for (const place of places.toReversed()) {
      if (left-- === 0) return first ?? place;
      if (isApart(text, place, encode)) return place;
      first ??= place;
    }
  }
  if (first !== undefined) return first;
  const code = text.charCodeAt(span);
  return code >= 0xdc00 && code < 0xe000 ? span - 1 : span;
}

function isApart(text: string, place: number, encode: (text: string) => ArrayLike<number>): boolean {
  const [before, after] = [text.slice(place - context, place), text.slice(place, place + context)];
  const [whole, one, other] = [before + after, before, after].map((t) => Array.from(encode(t.toWellFormed())));
  return String(whole) === String([...(one ?? []), ...(other ?? [])]);
}
