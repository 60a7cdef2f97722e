/** SentencePiece's tokenizers have no pre-tokenizer: a whole text is one piece, and nothing in it is found in a cache. But
 *  where no merge makes a token with a mark (U+2581) behind another character, none ever crosses that place, and the text
 *  may be cut there: the ids are the same. */

import type { BpeVocabulary } from "./bpe.ts";
import type { PreTokenizer, Take } from "./pre-tokenizer.ts";

const mark = "\u2581";
const markUnit = 0x2581;

interface Merges extends BpeVocabulary {
  readonly tokens: readonly (string | undefined)[];
}

/** `take` itself, or what cuts each piece in front of the marks before it gives the parts to `take`. */
export function cutAtWords(vocabulary: Merges, preTokenizer: PreTokenizer, take: Take): Take {
  if (preTokenizer.bytes || !mayBeCut(vocabulary)) return take;
  return (text, start, end, first) => {
    let from = start;
    for (let at = start + 1; at < end; at++) {
      if (text.charCodeAt(at) !== markUnit || text.charCodeAt(at - 1) === markUnit) continue;
      take(text, from, at, first && from === start);
      from = at;
    }
    take(text, from, end, first && from === start);
  };
}

function mayBeCut({ flags, idOf, results, tokens }: Merges): boolean {
  // The mark has an id, so that it ends a run of unknown characters as it would in the middle of a piece.
  if (flags.ignoreMerges || flags.prefix || flags.suffix || idOf(mark) < 0) return false;
  return results.every((id) => !crossing.test(tokens[id] ?? ""));
}

const crossing = /[^\u2581]\u2581/;
