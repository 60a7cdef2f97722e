import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { ArgumentError, FormatError } from "sinan";
import { type ChatMessage, chatTemplate } from "./index.ts";

/** Conversations as Python's Jinja writes them by real templates: tests/fixtures/tokenizer/make_chats.py. */
const { library, chats } = JSON.parse(
  readFileSync(new URL("../../../../tests/fixtures/tokenizer/chats.json", import.meta.url), "utf8"),
) as {
  library: string;
  chats: { name: string; config: object; messages: ChatMessage[]; prompt: boolean; variables: object; text: string }[];
};

describe(`conversations are written as by ${library}`, () => {
  chats.forEach(({ name, config, messages, prompt, variables, text }, i) => {
    test(`${name} (${i})`, () => {
      const options = { addGenerationPrompt: prompt, variables: { ...variables } };
      assert.equal(chatTemplate(config)?.render(messages, options), text);
      assert.equal(chatTemplate(JSON.stringify(config))?.render(messages, options), text);
    });
  });
});

const say: ChatMessage[] = [{ role: "user", content: "Hello" }];

test("chat_template.jinja goes before the configuration's; without one there is none", () => {
  const config = { chat_template: "old", bos_token: { content: "<s>" } };
  assert.equal(chatTemplate(config, "{{ bos_token }}{{ messages[0].content }}")?.render(say), "<s>Hello");
  assert.equal(chatTemplate({ chat_template: null }), null);
  assert.equal(chatTemplate({ chat_template: [{ name: "default", template: "a" }] })?.render(say), "a");
});

describe("broken templates and conversations are told", () => {
  const cases: [string, new (message: string) => Error, RegExp, () => unknown][] = [
    ["a block that is not closed", FormatError, /cannot be parsed/, () => chatTemplate({}, "{% for m in messages %}")],
    ["an expression that is none", FormatError, /cannot be parsed/, () => chatTemplate({}, "{{ messages[ }}")],
    ["text that is no JSON", FormatError, /expected JSON/, () => chatTemplate("{")],
    ["a template that is a number", FormatError, /expected an array, got 1/, () => chatTemplate({ chat_template: 1 })],
    [
      "no default",
      FormatError,
      /called "default"/,
      () => chatTemplate({ chat_template: [{ name: "rag", template: "" }] }),
    ],
    ["a token that is a number", FormatError, /eos_token/, () => chatTemplate({ eos_token: 3 })],
    [
      "a function that there is not",
      ArgumentError,
      /does not take this conversation/,
      () => chatTemplate({}, "{{ nothing(1) }}")?.render(say),
    ],
    [
      "a refusal",
      ArgumentError,
      /does not take this conversation: roles must alternate/,
      () => chatTemplate({}, "{{ raise_exception('roles must alternate') }}")?.render(say),
    ],
    [
      "a message without a role",
      ArgumentError,
      /messages\[0\] to have a role/,
      () => chatTemplate({}, "")?.render([{ content: "" } as unknown as ChatMessage]),
    ],
  ];
  for (const [name, kind, message, run] of cases) {
    test(name, () => assert.throws(run, (error) => error instanceof kind && message.test(error.message)));
  }
});
