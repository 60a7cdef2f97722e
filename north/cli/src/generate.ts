/** `sinan generate`: text from a trained model. */
import { device } from "sinan";
import { generateText, loadTrained } from "@sinan/llm";
import { nodeFiles } from "@sinan/train/node";
import { flagLines, type Flags, readFlags, UsageError } from "./flags.ts";
import { deviceName, json, print } from "./output.ts";

export const generateFlags = {
  checkpoint: { kind: "text", value: "DIR", about: "of a run, of one checkpoint, or a Hugging Face directory" },
  prompt: { kind: "text", value: "TEXT", about: "what the text begins with" },
  "max-tokens": { kind: "whole", value: "N", least: 1, most: 1e6, about: "the most tokens to make (default 100)" },
  seed: {
    kind: "whole",
    value: "N",
    least: 0,
    most: Number.MAX_SAFE_INTEGER,
    about: "the same seed makes the same text (default 0)",
  },
  temperature: {
    kind: "real",
    value: "X",
    least: 0,
    most: 100,
    about: "0 takes the likeliest token each time (default 0.8)",
  },
  device: { kind: "text", value: "NAME", about: "as `sinan devices` lists them (default: SINAN_DEVICE, or cpu)" },
  json: { kind: "flag", about: "one JSON object on standard output" },
  help: { kind: "flag", about: "this text" },
} as const satisfies Flags;

export const generateHelp = (): string => `sinan generate: text from a trained model

${flagLines(generateFlags)}

  sinan generate --checkpoint runs/moby-dick-llama-tiny --prompt "Call me Ishmael" --max-tokens 80 --seed 1
  sinan generate --checkpoint runs/mine/step-00000300 --prompt "The" --temperature 0 --json
`;

/** @returns the exit code */
export async function generateCommand(args: readonly string[]): Promise<number> {
  const values = readFlags("generate", generateFlags, args);
  if (values.help) {
    print(generateHelp());
    return 0;
  }
  const { checkpoint, prompt, seed = 0, temperature = 0.8 } = values;
  if (checkpoint === undefined)
    throw new UsageError("sinan generate: --checkpoint is missing", {
      hint: "Give the directory of a run: --checkpoint runs/moby-dick-llama-tiny",
    });
  if (prompt === undefined)
    throw new UsageError("sinan generate: --prompt is missing", {
      hint: 'Give some text to begin with: --prompt "Call me"',
    });
  await device(deviceName(values.device));
  const { model, tokenizer, path } = await loadTrained(nodeFiles(), checkpoint);
  const room = model.config.maxPositionEmbeddings - tokenizer.encode(prompt, { addSpecialTokens: true }).length;
  const maxTokens = values["max-tokens"] ?? Math.max(1, Math.min(100, room));
  const pieces = generateText(model, tokenizer, prompt, { maxTokens, seed, temperature });
  if (!values.json) print(prompt);
  let text = "";
  for await (const piece of pieces) {
    text += piece;
    if (!values.json) print(piece);
  }
  if (values.json) json({ prompt, text, maxTokens, seed, temperature, checkpoint: path });
  else print("\n");
  return 0;
}
