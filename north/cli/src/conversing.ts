/** What `sinan chat` does: reads lines, streams replies, and lets Ctrl-C end a reply or, at the prompt, the program. */
import process from "node:process";
import { createInterface } from "node:readline";
import { ContextError, loadChatTemplate, loadTrained } from "@sinan/llm";
import { painter } from "@sinan/train";
import { interrupted, nodeFiles } from "@sinan/train/node";
import type { chatFlags } from "./commands/chat.ts";
import { type Dialogue, plainDialogue, templateDialogue } from "./dialogue.ts";
import { UsageError, type Values } from "./flags.ts";
import { json, print, warn } from "./output.ts";
import { openDevice } from "./opened.ts";
import { samplingOf } from "./sampling.ts";

/** What a conversation remembers unless it is told: the cache of all positions of today's models would take gigabytes. */
const usualContext = 4096;

/** @returns the exit code */
export async function converse(values: Values<typeof chatFlags>): Promise<number> {
  const { checkpoint, system, "max-tokens": maxTokens = 200 } = values;
  const turn = (values.turn ?? "{}\n").replaceAll("\\n", "\n");
  if (checkpoint === undefined)
    throw new UsageError("sinan chat: --checkpoint is missing", {
      hint: "Give the directory of a run: --checkpoint runs/moby-dick-llama-tiny",
    });
  if (!turn.includes("{}"))
    throw new UsageError(`sinan chat: --turn: expected a text with {} in it, got ${JSON.stringify(turn)}`);
  await openDevice(values.device);
  const files = nodeFiles();
  const { model, tokenizer, path } = await loadTrained(files, checkpoint);
  const most = model.config.maxPositionEmbeddings;
  const { context = Math.min(usualContext, most) } = values;
  if (context > most)
    throw new UsageError(`sinan chat: --context: expected at most the model's ${most} positions, got ${context}`);
  // Who says how a message is put to the model is heard.
  const template = values.turn === undefined ? await loadChatTemplate(files, path) : null;
  const sampling = samplingOf(values);
  const isInteractive = process.stdin.isTTY && !values.json;
  const { dim, bold } = painter(process.stdout.isTTY);
  if (isInteractive) print(dim(`${path}; Ctrl-C ends a reply, Ctrl-D the conversation\n`));
  const lines = createInterface({ input: process.stdin, output: isInteractive ? process.stdout : undefined });
  lines.setPrompt(bold("> "));
  let reply: AbortController | null = null;
  let isInterrupted = false;
  const interrupt = (): void => {
    if (reply && !reply.signal.aborted) return reply.abort();
    isInterrupted = true;
    lines.close();
  };
  lines.on("SIGINT", interrupt); // the terminal's, while it is read
  process.on("SIGINT", interrupt);
  let isFull = false;
  const onForget = (capacity: number): void => {
    if (!isFull) warn(`the conversation is longer than ${capacity} tokens: its beginning is forgotten (--context N)`);
    isFull = true;
  };
  const speakers = { model, tokenizer, system, context, onForget };
  const begin = (): Dialogue => (template ? templateDialogue(speakers, template) : plainDialogue(speakers, turn));
  let talk = begin();
  try {
    if (isInteractive) lines.prompt();
    for await (const line of lines) {
      if (line === "/reset") {
        talk.dispose();
        talk = begin();
        isFull = false;
      } else if (line !== "") {
        reply = new AbortController();
        const { signal } = reply;
        const made = { text: "", finish: "", tokens: 0 };
        try {
          for await (const { text, id, finish } of talk.say(line, { ...sampling, maxTokens, signal })) {
            made.text += text;
            if (id !== null) made.tokens++;
            if (finish) made.finish = finish;
            if (!values.json) print(text);
          }
        } catch (error) {
          if (!isInteractive || !(error instanceof ContextError)) throw error;
          warn(error.message); // the next message may be shorter
        }
        reply = null;
        if (values.json) json({ message: line, reply: made.text, finish: made.finish, tokens: made.tokens });
        else print(made.finish === "aborted" ? dim(" …\n") : made.text.endsWith("\n") ? "" : "\n");
      }
      if (isInterrupted) break;
      if (isInteractive) lines.prompt();
    }
  } finally {
    process.off("SIGINT", interrupt);
    lines.close();
    talk.dispose();
  }
  if (isInteractive) print("\n");
  return isInterrupted ? interrupted : 0;
}
