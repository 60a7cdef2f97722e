/** `sinan chat`: a conversation with a model, line by line. */
import { command } from "../command.ts";
import { checkpointFlag, deviceFlag, everywhere, samplingFlags } from "../common-flags.ts";
import { flag, text, whole } from "../flags.ts";

export const chatFlags = {
  checkpoint: checkpointFlag,
  system: text("TEXT", "what the conversation begins with"),
  turn: text(
    "TEXT",
    "how a message is put to the model; {} is the message (default: its chat template, else {} and a new line)",
  ),
  "max-tokens": whole("N", 1, 1e6, "the most tokens of a reply (default 200)"),
  context: whole(
    "N",
    16,
    1e8,
    "the tokens to remember, up to a power of two (default: the model's positions, at most 4096)",
  ),
  ...samplingFlags,
  device: deviceFlag,
  json: flag("a JSON object a reply on standard output"),
  ...everywhere,
} as const;

export const chatCommand = command({
  name: "chat",
  about: "a conversation with a model",
  flags: chatFlags,
  notes: `Each line is a message. Ctrl-C ends a reply, and at the prompt the conversation; so does Ctrl-D. /reset begins anew.
A chat_template.jinja or tokenizer_config.json beside the model says how messages are written. What goes beyond --context
is said and forgotten: the oldest messages; without a template, the older half of the text. Its cache is taken when the conversation begins.`,
  examples: [
    ["chat --checkpoint runs/mine --stop . --temperature 0.7", ""],
    ['chat --checkpoint models/assistant --turn "User: {}\\nAssistant:" --stop "User:"', ""],
    ["chat --checkpoint runs/mine --json < questions.txt", "a reply to each line"],
  ],
  run: async (values) => (await import("../conversing.ts")).converse(values),
});
