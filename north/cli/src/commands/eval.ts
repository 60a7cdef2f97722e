/** `sinan eval`: how well a model predicts a text. */
import { command } from "../command.ts";
import { checkpointFlag, deviceFlag, everywhere } from "../common-flags.ts";
import { flag, text, UsageError, whole } from "../flags.ts";
import { json, print, table } from "../output.ts";

export const evalCommand = command({
  name: "eval",
  about: "bits per byte and perplexity of a model on a text",
  flags: {
    checkpoint: checkpointFlag,
    data: text("FILE", "a UTF-8 text; - is standard input"),
    seq: whole("N", 1, 65536, "tokens in a window (default: the model's positions, at most 256)"),
    batch: whole("N", 1, 65536, "windows side by side (default 8)"),
    device: deviceFlag,
    json: flag("one JSON object"),
    ...everywhere,
  },
  notes: `Each token is predicted once, from at least half a window. Bits per byte can be compared between models with different tokenizers,
perplexity cannot.`,
  examples: [
    ["eval --checkpoint runs/mine --data unseen.txt", ""],
    ["eval --checkpoint runs/mine --data - --json < unseen.txt", ""],
  ],
  async run({ checkpoint, data, seq, batch, ...values }) {
    if (checkpoint === undefined || data === undefined)
      throw new UsageError(`sinan eval: --${checkpoint === undefined ? "checkpoint" : "data"} is missing`, {
        hint: "sinan eval --checkpoint runs/mine --data unseen.txt",
      });
    const [{ openDevice }, { evaluateText, loadTrained }, { nodeFiles }, { readText }, { grouped }] = await Promise.all(
      [
        import("../opened.ts"),
        import("@sinan/llm"),
        import("@sinan/train/node"),
        import("../input.ts"),
        import("@sinan/train"),
      ],
    );
    await openDevice(values.device);
    const files = nodeFiles();
    const [{ model, tokenizer, path }, given] = [await loadTrained(files, checkpoint), await readText(files, data)];
    const start = performance.now();
    const options = { ...(seq !== undefined && { seqLen: seq }), ...(batch !== undefined && { batchSize: batch }) };
    const found = await evaluateText(model, tokenizer, given, options);
    const seconds = (performance.now() - start) / 1000;
    if (values.json) {
      json({ ...found, checkpoint: path, data, seconds });
      return 0;
    }
    const rows = [
      [path, data],
      ["bits per byte", found.bitsPerByte.toFixed(4)],
      ["perplexity", found.perplexity.toPrecision(5)],
      ["loss, nats a token", found.loss.toFixed(4)],
      ["tokens", grouped(found.tokens)],
      ["bytes", grouped(found.bytes)],
    ];
    print(`${table(rows, "")}\n`);
    return 0;
  },
});
