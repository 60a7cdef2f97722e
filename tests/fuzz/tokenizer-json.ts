/** `tokenizer.json`: of each kind of vocabulary. What is read encodes and decodes a text, and is written and read again. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { tokenizerFromJson } from "@sinan/llm";
import type { Format } from "./format.ts";
import { damagedBytes, damagedJson } from "./mutate.ts";

interface Features {
  readonly samples: readonly string[];
  readonly vocabularies: Readonly<Record<string, { readonly vocab: object; readonly merges: readonly unknown[] }>>;
  readonly cases: readonly { readonly vocabulary: string; readonly flags: object; readonly parts: object }[];
}
const file = new URL("../fixtures/tokenizer/features.json", import.meta.url);
const { samples, vocabularies, cases } = JSON.parse(readFileSync(file, "utf8")) as Features;

// Damage is to be to the many parts, not to one of hundreds of tokens: the vocabularies are cut short.
const seeds = cases.map(({ vocabulary, flags, parts }) => {
  const { vocab = {}, merges = [], ...rest } = vocabularies[vocabulary] ?? {};
  const kept = Object.fromEntries(Object.entries(vocab).filter(([, id]) => (id as number) < 300));
  const few = merges.filter((pair) => Array.isArray(pair) && Object.hasOwn(kept, pair.join(""))).slice(0, 20);
  return { version: "1.0", ...parts, model: { ...rest, ...flags, vocab: kept, merges: few } };
});
const text = `${samples.join(" ")} aaaa ${"ab ".repeat(40)}`;

export const format: Format = {
  input(random) {
    const seed = random.pick(seeds);
    if (random.once(10)) return damagedBytes(new TextEncoder().encode(JSON.stringify(seed)), random);
    return new TextEncoder().encode(damagedJson(seed, random));
  },
  read(bytes) {
    const tokenizer = tokenizerFromJson(new TextDecoder().decode(bytes));
    const ids = tokenizer.encode(text, { addSpecialTokens: true });
    for (const id of ids) assert.ok(id >= 0 && id < tokenizer.vocabSize, "an id of the vocabulary");
    const decoded = tokenizer.decode(ids);
    const stream = tokenizer.streamDecoder();
    let shown = "";
    for (const id of ids) shown += stream.push(id);
    assert.equal(shown + stream.end(), decoded, "streamed and decoded at once");
    const again = tokenizerFromJson(JSON.stringify(tokenizer)).encode(text, { addSpecialTokens: true });
    assert.deepEqual(again, ids, "written and read again");
  },
};
