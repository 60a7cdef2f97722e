/** Tokens that stand outside BPE: they are found in the text before it is cut into pieces and become one id whole. */

/** One entry of `added_tokens` in `tokenizer.json`. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Left out by `decode(ids, { skipSpecialTokens: true })`. */
  readonly special: boolean;
  /** Looked for after Unicode normalisation, not before. */
  readonly normalized: boolean;
}

export type Segment = { readonly id: number } | { readonly start: number; readonly end: number };

/** Builds the function that splits a text at the given tokens: at each place the longest that fits, from the left. */
export function splitter(tokens: readonly AddedToken[]): (text: string) => Segment[] {
  const byFirstUnit = new Map<number, AddedToken[]>();
  for (const token of [...tokens].sort((a, b) => b.content.length - a.content.length)) {
    const first = token.content.charCodeAt(0);
    const group = byFirstUnit.get(first);
    if (group) group.push(token);
    else byFirstUnit.set(first, [token]);
  }
  if (byFirstUnit.size === 0) return (text) => (text === "" ? [] : [{ start: 0, end: text.length }]);

  return (text) => {
    const segments: Segment[] = [];
    let start = 0;
    for (let at = 0; at < text.length; ) {
      const found = byFirstUnit.get(text.charCodeAt(at))?.find(({ content }) => text.startsWith(content, at));
      if (!found) {
        at++;
        continue;
      }
      if (start < at) segments.push({ start, end: at });
      segments.push({ id: found.id });
      at += found.content.length;
      start = at;
    }
    if (start < text.length) segments.push({ start, end: text.length });
    return segments;
  };
}
