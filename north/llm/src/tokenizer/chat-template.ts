/** Chat templates: how a conversation is written for a model, as a Jinja program that comes with its tokenizer. The language is
 *  the `@huggingface/jinja` library's; what goes wrong in a template that came from elsewhere is told as a FormatError. */

import { Template } from "@huggingface/jinja";
import { ArgumentError, type Files, FormatError, joinPath } from "sinan";
import { arrayAt, objectAt, stringAt, unexpected } from "./json-value.ts";

/** What somebody said; templates may read further fields (`tool_calls`, `name`). */
export interface ChatMessage {
  /** `system`, `user`, `assistant`, or what else the template knows. */
  readonly role: string;
  readonly content: unknown;
  readonly [field: string]: unknown;
}

/** How a conversation ends, and what the template may use. */
export interface ChatOptions {
  /** End with the beginning of the assistant's answer. Default false. */
  readonly addGenerationPrompt?: boolean;
  /** What the template may use beside the messages: `tools`, `documents`, `enable_thinking` ... Default: nothing. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** A model's way of writing a conversation. */
export interface ChatTemplate {
  /** The template's text. */
  readonly source: string;
  /** The configuration's `eos_token`, by which models of conversations end a reply. */
  readonly eosToken: string | null;
  /** The conversation as the model reads it, special tokens written out: encode it without `addSpecialTokens`.
   *  @throws ArgumentError if the template refuses the conversation, or cannot be run on it */
  render(messages: readonly ChatMessage[], options?: ChatOptions): string;
}

/** The chat template of a tokenizer.
 *
 *  @param config    `tokenizer_config.json`, its text or the value parsed from it: the template, if it is there, and the special
 *                   tokens that templates name (`bos_token`, `eos_token` ...)
 *  @param template  `chat_template.jinja`, which goes before the one in the configuration
 *  @returns null if there is no template
 *  @throws FormatError if the configuration is not JSON or has other types, or the template cannot be parsed
 *  @example
 *  const chat = chatTemplate({ chat_template: "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" });
 *  chat?.render([{ role: "user", content: "Hello" }]);  // "user: Hello\n" */
export function chatTemplate(config: unknown, template?: string): ChatTemplate | null {
  const root = objectAt(typeof config === "string" ? parsed(config) : config, "tokenizer_config.json");
  const tokens: Record<string, string> = {};
  for (const name of ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"]) {
    const value = root[name];
    if (value === undefined || value === null) continue;
    const where = `tokenizer_config.json: ${name}`;
    tokens[name] = typeof value === "string" ? value : stringAt(objectAt(value, where)["content"], `${where}.content`);
  }
  const source = template ?? templateOf(root["chat_template"]);
  return source === null ? null : { source, eosToken: tokens["eos_token"] ?? null, render: renderer(source, tokens) };
}

/** The chat template of a model's directory: its `chat_template.jinja`, or the one in its `tokenizer_config.json`.
 *
 *  @returns null if there is no template
 *  @throws FileError; FormatError as `chatTemplate`, naming the directory
 *  @example const chat = await loadChatTemplate(nodeFiles(), "models/assistant"); */
export async function loadChatTemplate(files: Files, directory: string): Promise<ChatTemplate | null> {
  const read = async (name: string): Promise<string | undefined> => {
    const path = joinPath(directory, name);
    return (await files.exists(path)) ? new TextDecoder().decode(await files.read(path)) : undefined;
  };
  const [config = "{}", template] = await Promise.all([read("tokenizer_config.json"), read("chat_template.jinja")]);
  try {
    return chatTemplate(config, template);
  } catch (cause) {
    throw cause instanceof FormatError ? new FormatError(`${directory}: ${cause.message}`, { cause }) : cause;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FormatError("tokenizer_config.json: expected JSON, got text that does not parse", { cause });
  }
}

/** The template, or of several with names the one called `default`. */
function templateOf(value: unknown): string | null {
  const where = "tokenizer_config.json: chat_template";
  if (value === undefined || value === null) return null;
  if (typeof value === "string") return value;
  const named = arrayAt(value, where).map((entry, i) => {
    const one = objectAt(entry, `${where}[${i}]`);
    return {
      name: stringAt(one["name"], `${where}[${i}].name`),
      template: stringAt(one["template"], `${where}[${i}].template`),
    };
  });
  const found = named.find(({ name }) => name === "default");
  if (found === undefined)
    throw unexpected(where, `a template called "default"`, named.map(({ name }) => name).join(", "));
  return found.template;
}

function renderer(source: string, tokens: Readonly<Record<string, string>>): ChatTemplate["render"] {
  const program = compiled(source);
  return (messages, { addGenerationPrompt = false, variables = {} } = {}) => {
    checkMessages(messages);
    try {
      return program.render({ ...tokens, ...variables, messages, add_generation_prompt: addGenerationPrompt });
    } catch (cause) {
      // A template refuses by `raise_exception`, whose message says why.
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new ArgumentError(`chat template: it does not take this conversation: ${reason.slice(0, 500)}`, {
        hint: "Look at the roles and their order, and at what else the template reads.",
        cause,
      });
    }
  };
}

function compiled(source: string): Template {
  try {
    return new Template(source);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FormatError(`chat template: it cannot be parsed: ${reason.slice(0, 500)}`, {
      hint: `It begins with ${JSON.stringify(source.slice(0, 60))}.`,
      cause,
    });
  }
}

function checkMessages(messages: readonly ChatMessage[]): void {
  if (!Array.isArray(messages))
    throw new ArgumentError(`chat template: expected an array of messages, got ${typeof messages}`);
  messages.forEach((message: unknown, i) => {
    const role = typeof message === "object" && message !== null ? (message as { role?: unknown }).role : undefined;
    if (typeof role === "string") return;
    throw new ArgumentError(`chat template: expected messages[${i}] to have a role, got ${typeof role}`, {
      hint: `A message is like { role: "user", content: "Hello" }.`,
    });
  });
}
