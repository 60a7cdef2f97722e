/** The commands by name. What each is made of is loaded when it is wanted. */
import type { Command } from "./command.ts";

interface Entry {
  /** For the list of commands. */
  readonly about: string;
  load(): Promise<Command>;
}

export const commands = {
  train: { about: "train a model on a text", load: async () => (await import("./commands/train.ts")).trainCommand },
  generate: {
    about: "text from a trained model",
    load: async () => (await import("./commands/generate.ts")).generateCommand,
  },
  chat: { about: "a conversation with a model", load: async () => (await import("./commands/chat.ts")).chatCommand },
  eval: {
    about: "bits per byte and perplexity of a model on a text",
    load: async () => (await import("./commands/eval.ts")).evalCommand,
  },
  inspect: {
    about: "what is in weights, a checkpoint, a tokenizer or a configuration",
    load: async () => (await import("./commands/inspect.ts")).inspectCommand,
  },
  tokenize: {
    about: "ids, pieces and counts of a text, or a new tokenizer",
    load: async () => (await import("./commands/tokenize.ts")).tokenizeCommand,
  },
  runs: {
    about: "the runs that there are, or two of them compared",
    load: async () => (await import("./commands/runs.ts")).runsCommand,
  },
  devices: {
    about: "what there is to compute on",
    load: async () => (await import("./commands/devices.ts")).devicesCommand,
  },
  bench: {
    about: "how fast this machine is: products, memory, a model's steps",
    load: async () => (await import("./commands/bench.ts")).benchCommand,
  },
  tune: {
    about: "searches the schedules of a program's kernels, and keeps what is faster",
    load: async () => (await import("./commands/tune.ts")).tuneCommand,
  },
  profile: {
    about: "runs a program and says where its time went, kernel by kernel",
    load: async () => (await import("./commands/profile.ts")).profileCommand,
  },
} as const satisfies Record<string, Entry>;

export type CommandName = keyof typeof commands;
export const commandNames = Object.keys(commands) as readonly CommandName[];
