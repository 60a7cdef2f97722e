/** `sinan tokenize`: texts as ids and back, and tokenizers made of texts. */
import { command } from "../command.ts";
import { everywhere } from "../common-flags.ts";
import { choice, flag, text, UsageError, type Values, whole } from "../flags.ts";
import { json, print, warn } from "../output.ts";

const flags = {
  tokenizer: text("PATH", "a tokenizer.json, or the directory of a model or a run"),
  text: text("TEXT", "instead of a file"),
  show: choice(["ids", "pieces", "count"], "what is shown (default ids)"),
  special: flag("with the tokens that the tokenizer puts around a text"),
  decode: flag("the other way: ids, separated by blanks, as text"),
  train: text("FILE", "learn a byte-level BPE from a text instead"),
  vocab: whole("N", 256, 1e6, "ids that it may have (default 1024)"),
  pattern: choice(["gpt2", "llama3"], "how it cuts text into pieces (default gpt2)"),
  out: text("FILE", "where it goes (default tokenizer.json)"),
  json: flag("one JSON object"),
  ...everywhere,
} as const;

export const tokenizeCommand = command({
  name: "tokenize",
  about: "ids, pieces and counts of a text, or a new tokenizer",
  flags,
  words: { value: "[FILE]", least: 0, most: 1 },
  notes: "Without a file the text comes from standard input.",
  examples: [
    ["tokenize --tokenizer runs/mine my.txt --show count", ""],
    ['tokenize --tokenizer tokenizer.json --text "Call me Ishmael" --show pieces', ""],
    ["tokenize --tokenizer tokenizer.json --decode < ids.txt", ""],
    ["tokenize --train my.txt --vocab 4096 --out tokenizer.json", ""],
  ],
  run: (values, words) => (values.train === undefined ? encode(values, words) : learn(values, values.train, words)),
});

async function encode(values: Values<typeof flags>, [file]: readonly string[]): Promise<number> {
  if (values.tokenizer === undefined)
    throw new UsageError("sinan tokenize: --tokenizer is missing", {
      hint: "Give a tokenizer.json or the directory of a run, or --train FILE to make one.",
    });
  if (values.text !== undefined && file !== undefined)
    throw new UsageError("sinan tokenize: a file and --text are both given", { hint: "Give one of them." });
  const [{ nodeFiles }, { readText, readTokenizer }] = await Promise.all([
    import("@sinan/train/node"),
    import("../input.ts"),
  ]);
  const files = nodeFiles();
  const tokenizer = await readTokenizer(files, values.tokenizer);
  const given = values.text ?? (await readText(files, file));
  if (values.decode) {
    const ids = given.split(/\s+/).filter((word) => word !== "");
    for (const word of ids)
      if (!/^\d{1,9}$/.test(word))
        throw new UsageError(
          `sinan tokenize: expected ids separated by blanks, got ${JSON.stringify(word.slice(0, 40))}`,
        );
    const decoded = tokenizer.decode(ids.map(Number));
    if (values.json) json({ text: decoded });
    else print(decoded.endsWith("\n") ? decoded : `${decoded}\n`);
    return 0;
  }
  const start = performance.now();
  const ids = tokenizer.encode(given, { addSpecialTokens: values.special === true });
  const seconds = (performance.now() - start) / 1000;
  const bytes = Buffer.byteLength(given);
  const counts = {
    tokens: ids.length,
    bytes,
    characters: given.match(/./gsu)?.length ?? 0,
    bytesPerToken: bytes / ids.length,
  };
  const pieces = (): string[] => Array.from(ids, (id) => tokenizer.decode([id]));
  const { show = "ids" } = values;
  if (values.json) {
    json({
      ...counts,
      seconds,
      ...(show !== "count" && { ids: Array.from(ids) }),
      ...(show === "pieces" && { pieces: pieces() }),
    });
    return 0;
  }
  if (show === "ids") print(`${ids.join(" ")}\n`);
  if (show === "pieces")
    print(
      `${pieces()
        .map((piece) => JSON.stringify(piece))
        .join(" ")}\n`,
    );
  if (show === "count")
    print(
      `${counts.tokens} tokens, ${bytes} bytes, ${counts.characters} characters` +
        (ids.length > 0 ? `, ${counts.bytesPerToken.toFixed(2)} bytes a token\n` : "\n"),
    );
  return 0;
}

async function learn(values: Values<typeof flags>, from: string, words: readonly string[]): Promise<number> {
  const stray = ["tokenizer", "text", "show", "special", "decode"].find((name) => name in values) ?? words[0];
  if (stray !== undefined)
    throw new UsageError(`sinan tokenize: --train takes no ${stray in flags ? `--${stray}` : JSON.stringify(stray)}`);
  const [{ replaceFile }, { nodeFiles }, { linesWithEndings, trainBpe }, { readText }] = await Promise.all([
    import("sinan"),
    import("@sinan/train/node"),
    import("@sinan/llm"),
    import("../input.ts"),
  ]);
  const files = nodeFiles();
  const { out = "tokenizer.json", vocab: vocabSize = 1024, pattern = "gpt2" } = values;
  const given = await readText(files, from);
  const tokenizer = trainBpe(linesWithEndings(given), { vocabSize, pattern });
  await replaceFile(files, out, [new TextEncoder().encode(`${JSON.stringify(tokenizer)}\n`)]);
  const made = { path: out, vocabulary: tokenizer.vocabSize };
  const bytesPerToken = Buffer.byteLength(given) / tokenizer.encode(given, { specialTokensAsText: true }).length;
  if (values.json) json({ ...made, bytesPerToken });
  else print(`${out}: ${tokenizer.vocabSize} tokens, ${bytesPerToken.toFixed(2)} bytes a token of ${from}\n`);
  if (tokenizer.vocabSize < vocabSize)
    warn(`the text has pairs for ${tokenizer.vocabSize} tokens, not for ${vocabSize}`);
  return 0;
}
