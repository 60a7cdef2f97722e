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
  devices: {
    about: "what there is to compute on",
    load: async () => (await import("./commands/devices.ts")).devicesCommand,
  },
} as const satisfies Record<string, Entry>;

export type CommandName = keyof typeof commands;
export const commandNames = Object.keys(commands) as readonly CommandName[];
