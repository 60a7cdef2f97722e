/** `sinan generate`: text from a trained model, after one prompt or several. */
import { command } from "../command.ts";
import { checkpointFlag, deviceFlag, everywhere, samplingFlags } from "../common-flags.ts";
import { choice, flag, texts, UsageError, type Values, whole } from "../flags.ts";
import { json, print } from "../output.ts";
import { samplingOf } from "../sampling.ts";

const flags = {
  checkpoint: checkpointFlag,
  prompt: texts("TEXT", "what the text begins with; several are continued together"),
  "max-tokens": whole("N", 1, 1e6, "the most tokens to make (default 100)"),
  ...samplingFlags,
  logprobs: whole("N", 0, 100, "with --json: how likely each token was, and the N likeliest"),
  overflow: choice(["error", "slide"], "past the model's last position: refuse, or forget the older half"),
  device: deviceFlag,
  json: flag("one JSON object a prompt on standard output"),
  ...everywhere,
} as const;

export const generateCommand = command({
  name: "generate",
  about: "text from a trained model",
  flags,
  notes: "Ctrl-C ends the text where it is, with code 130.",
  examples: [
    ['generate --checkpoint runs/moby-dick-llama-tiny --prompt "Call me Ishmael" --max-tokens 80 --seed 1', ""],
    ['generate --checkpoint runs/mine/step-00000300 --prompt "The" --temperature 0 --json', ""],
    ['generate --checkpoint runs/mine --prompt "The whale" --prompt "The sea" --top-p 0.9 --stop "."', ""],
  ],
  run: generateTexts,
});

interface Told {
  readonly id: number;
  readonly logprob?: number;
  readonly top?: readonly { readonly id: number; readonly logprob: number }[];
}

async function generateTexts(values: Values<typeof flags>): Promise<number> {
  const { checkpoint, prompt: prompts = [] } = values;
  if (checkpoint === undefined)
    throw new UsageError("sinan generate: --checkpoint is missing", {
      hint: "Give the directory of a run: --checkpoint runs/moby-dick-llama-tiny",
    });
  if (prompts.length === 0)
    throw new UsageError("sinan generate: --prompt is missing", {
      hint: 'Give some text to begin with: --prompt "Call me"',
    });
  const [{ openDevice }, { generateStream, loadTrained }, { interrupted, nodeFiles, onInterrupt }] = await Promise.all([
    import("../opened.ts"),
    import("@sinan/llm"),
    import("@sinan/train/node"),
  ]);
  await openDevice(values.device);
  const { model, tokenizer, path } = await loadTrained(nodeFiles(), checkpoint);
  const longest = Math.max(...prompts.map((prompt) => tokenizer.encode(prompt, { addSpecialTokens: true }).length));
  const room = values.overflow === "slide" ? Number.POSITIVE_INFINITY : model.config.maxPositionEmbeddings - longest;
  const maxTokens = values["max-tokens"] ?? Math.max(1, Math.min(100, room));
  const sampling = samplingOf(values);
  const stop = onInterrupt(() => undefined);
  const made = prompts.map(() => "");
  const tokens: Told[][] = prompts.map(() => []);
  const finishes = prompts.map(() => "length");
  // One text comes as it is made; of several each is shown when all are done.
  const live = !values.json && prompts.length === 1;
  try {
    const pieces = generateStream(model, tokenizer, prompts, {
      ...sampling,
      maxTokens,
      signal: stop.signal,
      ...(values.overflow && { overflow: values.overflow }),
      ...(values.logprobs !== undefined && { logprobs: values.logprobs }),
    });
    if (live) print(prompts[0] ?? "");
    for await (const { row, text, id, finish, logprob, top } of pieces) {
      made[row] += text;
      if (finish) finishes[row] = finish;
      if (id !== null) tokens[row]?.push({ id, ...(logprob !== undefined && { logprob }), ...(top && { top }) });
      if (live) print(text);
    }
  } finally {
    stop.release();
  }
  const whole = prompts.map((prompt, row) => prompt + (made[row] ?? ""));
  if (live) print("\n");
  else if (!values.json) print(`${whole.join("\n\n")}\n`);
  if (values.json)
    prompts.forEach((prompt, row) => {
      const { seed, temperature } = sampling;
      const likely = values.logprobs === undefined ? {} : { tokens: tokens[row] };
      const record = { prompt, text: made[row], finish: finishes[row], maxTokens, seed: seed + row, temperature };
      json({ ...record, checkpoint: path, ...likely });
    });
  return stop.signal.aborted ? interrupted : 0;
}
