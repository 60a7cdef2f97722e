/** The `post_processor` of a `tokenizer.json`: which ids stand around a single text. ByteLevel only moves character offsets,
 *  which are not kept here; the others add special tokens such as `<|begin_of_text|>` (LLaMA-3) and `<s>` (LLaMA-2). */

import { arrayAt, idAt, objectAt, stringAt, unexpected } from "./json-value.ts";

/** Ids before and after a text, with the part of `tokenizer.json` that says so. */
export interface PostProcessor {
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly source: unknown;
}

/** @throws FormatError for another kind of processor, or a template that does not hold the text exactly once or names ids
 *          that are not of the vocabulary */
export function readPostProcessor(value: unknown, tokens: readonly (string | undefined)[]): PostProcessor | null {
  if (value === undefined || value === null) return null;
  const where = "tokenizer.json: post_processor";
  const { before, after } = read(value, where, tokens, 0);
  return { before, after, source: value };
}

interface Around {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

function read(value: unknown, where: string, tokens: readonly (string | undefined)[], depth: number): Around {
  const step = objectAt(value, where);
  switch (step["type"]) {
    case "ByteLevel":
      return { before: [], after: [] };
    case "TemplateProcessing":
      return template(step, where, tokens);
    case "BertProcessing":
    case "RobertaProcessing":
      return {
        before: [tokenWithId(step["cls"], `${where}.cls`, tokens)],
        after: [tokenWithId(step["sep"], `${where}.sep`, tokens)],
      };
    case "Sequence": {
      if (depth > 8) throw unexpected(where, "at most 8 Sequences inside of each other", "another one");
      let around: Around = { before: [], after: [] };
      arrayAt(step["processors"], `${where}.processors`).forEach((inner, i) => {
        const { before, after } = read(inner, `${where}.processors[${i}]`, tokens, depth + 1);
        around = { before: [...before, ...around.before], after: [...around.after, ...after] };
      });
      return around;
    }
    default:
      throw unexpected(
        where,
        "null or one of ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing, Sequence",
        step["type"],
      );
  }
}

/** `["<s>", 0]` */
function tokenWithId(value: unknown, where: string, tokens: readonly (string | undefined)[]): number {
  const [token, id] = arrayAt(value, where);
  stringAt(token, `${where}[0]`);
  return knownId(id, `${where}[1]`, tokens);
}

function knownId(value: unknown, where: string, tokens: readonly (string | undefined)[]): number {
  const id = idAt(value, where);
  if (id >= tokens.length) throw unexpected(where, `ids below ${tokens.length}`, id);
  return id;
}

function template(
  step: Readonly<Record<string, unknown>>,
  where: string,
  tokens: readonly (string | undefined)[],
): Around {
  const specials = objectAt(step["special_tokens"], `${where}.special_tokens`);
  const pieces = arrayAt(step["single"], `${where}.single`);
  const before: number[] = [];
  const after: number[] = [];
  let texts = 0;
  pieces.forEach((entry, i) => {
    const at = `${where}.single[${i}]`;
    const piece = objectAt(entry, at);
    if (piece["Sequence"] !== undefined) {
      const { id } = objectAt(piece["Sequence"], `${at}.Sequence`);
      if (id !== "A") throw unexpected(`${at}.Sequence.id`, `"A"`, id);
      texts++;
      return;
    }
    const name = stringAt(objectAt(piece["SpecialToken"], `${at}.SpecialToken`)["id"], `${at}.SpecialToken.id`);
    if (!Object.hasOwn(specials, name)) throw unexpected(`${at}.SpecialToken.id`, "a name in special_tokens", name);
    const place = `${where}.special_tokens.${name.slice(0, 60)}`;
    for (const value of arrayAt(objectAt(specials[name], place)["ids"], `${place}.ids`)) {
      (texts === 0 ? before : after).push(knownId(value, `${place}.ids`, tokens));
    }
  });
  if (texts !== 1) throw unexpected(`${where}.single`, "the text exactly once", `${texts} times`);
  return { before, after };
}
