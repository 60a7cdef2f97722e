import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { FormatError } from "sinan";
import { tokenizerFromJson, trainBpe } from "./index.ts";
import { expected, tokenizerFile } from "./tokenizer.fixture.ts";

// The tests take files apart, so here JSON has no type.
type Json = Record<string, ReturnType<typeof JSON.parse>>;
const valid = (name = "gpt2"): Json => JSON.parse(tokenizerFile(name));

describe("a file of the library, read and written, is the same file", () => {
  for (const name of Object.keys(expected.ids)) {
    test(name, () => assert.deepEqual(JSON.parse(JSON.stringify(tokenizerFromJson(valid(name)))), valid(name)));
  }
});

test("merges may be written as strings", () => {
  const file = valid();
  file["model"].merges = file["model"].merges.map((pair: string[]) => pair.join(" "));
  assert.deepEqual(tokenizerFromJson(file).toJSON(), valid());
});

test("a token may have the name of a property that every object has", () => {
  const tokenizer = trainBpe("__proto__ __proto__ constructor constructor", { vocabSize: 1000, pattern: "none" });
  const again = tokenizerFromJson(JSON.stringify(tokenizer));
  assert.deepEqual(again.encode("__proto__ constructor"), tokenizer.encode("__proto__ constructor"));
  assert.equal(again.vocabSize, tokenizer.vocabSize);
});

describe("what is no BPE tokenizer is refused, and the error says why", () => {
  const edit = (change: (file: Json) => void, name = "gpt2") => {
    const file = valid(name);
    change(file);
    return file;
  };
  const cases: [string, RegExp, unknown][] = [
    ["no text", /expected JSON/, ""],
    ["not JSON", /expected JSON.*\n.*begins with "PK/, "PK\u0003\u0004"],
    ["a file cut short", /expected JSON/, tokenizerFile("gpt2").slice(0, 5000)],
    ["null", /expected an object, got null/, null],
    ["a list", /expected an object, got an array of 0/, "[]"],
    ["another version", /version: expected "1.0", got "2.0"/, edit((f) => (f["version"] = "2.0"))],
    ["truncation", /truncation is not supported/, edit((f) => (f["truncation"] = { max_length: 5 }))],
    ["padding", /padding is not supported/, edit((f) => (f["padding"] = {}))],
    ["no model", /model: expected an object, got nothing/, edit((f) => delete f["model"])],
    ["another model", /expected "BPE", got "Unigram"/, edit((f) => (f["model"].type = "Unigram"))],
    [
      "an unknown token",
      /unk_token: expected a token of model.vocab, got "<unk>"/,
      edit((f) => (f["model"].unk_token = "<unk>")),
    ],
    ["dropout", /dropout is not supported/, edit((f) => (f["model"].dropout = 0.1))],
    [
      "a prefix",
      /continuing_subword_prefix: expected ASCII/,
      edit((f) => (f["model"].continuing_subword_prefix = "é")),
    ],
    [
      "a flag that is a number",
      /ignore_merges: expected true or false, got 1/,
      edit((f) => (f["model"].ignore_merges = 1)),
    ],
    ["no vocabulary", /vocab: expected an object/, edit((f) => delete f["model"].vocab)],
    ["a vocabulary as a list", /vocab: expected an object, got an array/, edit((f) => (f["model"].vocab = []))],
    [
      "a huge id",
      /expected an integer from 0 to 16777215, got 1e\+300/,
      edit((f) => (f["model"].vocab["the"] = 1e300)),
    ],
    ["a negative id", /got -1/, edit((f) => (f["model"].vocab["!"] = -1))],
    ["a fractional id", /got 1.5/, edit((f) => (f["model"].vocab["!"] = 1.5))],
    ["an id as text", /got "3"/, edit((f) => (f["model"].vocab["!"] = "3"))],
    ["a gap in the ids", /there is a gap below it/, edit((f) => (f["model"].vocab["new"] = 9000))],
    ["an id given twice", /the id 5 is given to/, edit((f) => (f["model"].vocab["#"] = 5))],
    ["no merges", /merges: expected an array, got nothing/, edit((f) => delete f["model"].merges)],
    [
      "a merge of an unknown token",
      /merges\[0\]: expected tokens of model.vocab, got "Ω"/,
      edit((f) => (f["model"].merges[0] = ["Ω", "?"])),
    ],
    ["a merge of three", /merges\[1\]: expected two tokens/, edit((f) => (f["model"].merges[1] = "a b c"))],
    ["a merge of numbers", /merges\[1\]: expected a string, got 1/, edit((f) => (f["model"].merges[1] = [1, 2]))],
    ["a merge that is null", /merges\[1\]: expected an array, got null/, edit((f) => (f["model"].merges[1] = null))],
    ["added tokens as an object", /added_tokens: expected an array/, edit((f) => (f["added_tokens"] = {}))],
    ["an added token without text", /content: expected a string/, edit((f) => delete f["added_tokens"][0].content)],
    ["an empty added token", /at least one character/, edit((f) => (f["added_tokens"][0].content = ""))],
    ["an added token twice", /is added twice/, edit((f) => f["added_tokens"].push(f["added_tokens"][0]))],
    ["an added token of another id", /has id 9 here and 0 in model.vocab/, edit((f) => (f["added_tokens"][0].id = 9))],
    [
      "an added token past a gap",
      /next free one is 700/,
      edit((f) => f["added_tokens"].push({ id: 900, content: "<x>", special: true })),
    ],
    ["half a character", /unpaired surrogates/, edit((f) => (f["added_tokens"][0].content = "\ud800"))],
    [
      "another normalizer",
      /normalizer: expected null or one of .*, got "Precompiled"/,
      edit((f) => (f["normalizer"] = { type: "Precompiled" })),
    ],
    ["another pre-tokenizer", /got "UnicodeScripts"/, edit((f) => (f["pre_tokenizer"] = { type: "UnicodeScripts" }))],
    [
      "an expression that may take for ever",
      /no repetition of what itself repeats/,
      edit((f) => (f["pre_tokenizer"].pretokenizers[0].pattern.Regex = "(a+)+$"), "llama3"),
    ],
    [
      "another decoder",
      /decoder: expected null or one of ByteLevel, .*, got "WordPiece"/,
      edit((f) => (f["decoder"] = { type: "WordPiece" })),
    ],
    ["another post-processor", /got "Other"/, edit((f) => (f["post_processor"] = { type: "Other" }))],
    [
      "a template with an id too large",
      /ids below 604, got 605/,
      edit((f) => (f["post_processor"].processors[1].special_tokens["<|begin|>"].ids = [605]), "llama3"),
    ],
    [
      "a template without the text",
      /the text exactly once/,
      edit((f) => f["post_processor"].processors[1].single.pop(), "llama3"),
    ],
  ];
  for (const [name, message, source] of cases) {
    test(name, () =>
      assert.throws(
        () => tokenizerFromJson(source),
        (error) => error instanceof FormatError && message.test(error.message),
      ),
    );
  }
});

test("any damage to a file is either harmless or a FormatError", () => {
  const paths = [
    [],
    ["model"],
    ["model", "merges"],
    ["model", "merges", 3],
    ["model", "vocab"],
    ["added_tokens"],
    ["added_tokens", 0],
    ["pre_tokenizer"],
    ["pre_tokenizer", "pretokenizers"],
    ["pre_tokenizer", "pretokenizers", 0],
    ["post_processor"],
    ["post_processor", "processors", 1],
    ["post_processor", "processors", 1, "single", 0],
    ["decoder"],
  ];
  fc.assert(
    fc.property(
      fc.constantFrom("gpt2", "llama3"),
      fc.constantFrom(...paths),
      fc.nat(),
      fc.jsonValue(),
      (name, path, pick, damage) => {
        const file = valid(name);
        let place: Json = file;
        for (const key of path) place = place?.[key] ?? file;
        const keys = Object.keys(place);
        place[keys[pick % Math.max(1, keys.length)] ?? "x"] = damage;
        try {
          const tokenizer = tokenizerFromJson(JSON.stringify(file));
          tokenizer.encode("All human beings <|begin|>");
          tokenizerFromJson(JSON.stringify(tokenizer));
        } catch (error) {
          assert.ok(error instanceof FormatError, String(error));
        }
      },
    ),
    { numRuns: 1500 },
  );
});

test("any other text is a FormatError", () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string()), (text) => assert.throws(() => tokenizerFromJson(text), FormatError)),
  );
});
