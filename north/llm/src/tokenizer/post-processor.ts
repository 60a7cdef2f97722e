/** The `post_processor` of a `tokenizer.json`: which ids stand around a single text. ByteLevel only moves character offsets,
 *  which are not kept here; TemplateProcessing (LLaMA-3) adds special tokens such as `<|begin_of_text|>`. */

import { arrayAt, idAt, objectAt, stringAt, unexpected } from "./json-value.ts";
import type { PostProcessor } from "./tokenizer.ts";

/** @throws FormatError for another kind of processor, or a template that does not hold the text exactly once or names ids
 *          that are not of the vocabulary */
export function readPostProcessor(value: unknown, tokens: readonly string[]): PostProcessor | null {
  if (value === undefined || value === null) return null;
  const where = "tokenizer.json: post_processor";
  const { before, after } = read(value, where, tokens, 0);
  return { before, after, source: value };
}

interface Around {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

function read(value: unknown, where: string, tokens: readonly string[], depth: number): Around {
  const step = objectAt(value, where);
  switch (step["type"]) {
    case "ByteLevel":
      return { before: [], after: [] };
    case "TemplateProcessing":
      return template(step, where, tokens);
    case "Sequence": {
      if (depth > 0) throw unexpected(where, "no Sequence within a Sequence", "Sequence");
      let around: Around = { before: [], after: [] };
      arrayAt(step["processors"], `${where}.processors`).forEach((inner, i) => {
        const { before, after } = read(inner, `${where}.processors[${i}]`, tokens, depth + 1);
        around = { before: [...before, ...around.before], after: [...around.after, ...after] };
      });
      return around;
    }
    default:
      throw unexpected(where, "null, ByteLevel, TemplateProcessing or a Sequence of them", step["type"]);
  }
}

function template(step: Readonly<Record<string, unknown>>, where: string, tokens: readonly string[]): Around {
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
      const id = idAt(value, `${place}.ids`);
      if (id >= tokens.length) throw unexpected(`${place}.ids`, `ids below ${tokens.length}`, id);
      (texts === 0 ? before : after).push(id);
    }
  });
  if (texts !== 1) throw unexpected(`${where}.single`, "the text exactly once", `${texts} times`);
  return { before, after };
}
