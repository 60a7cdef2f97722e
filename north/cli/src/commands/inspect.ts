/** `sinan inspect`: a model's file or directory as a person wants to read it. */
import { command } from "../command.ts";
import { everywhere } from "../common-flags.ts";
import { flag } from "../flags.ts";
import type { ConfigFigures, Inspection, TokenizerFigures, Weights } from "../inspection.ts";
import { json, print, table } from "../output.ts";

export const inspectCommand = command({
  name: "inspect",
  about: "what is in weights, a checkpoint, a tokenizer or a configuration",
  flags: { all: flag("each tensor on a line of its own"), json: flag("one JSON object"), ...everywhere },
  words: { value: "[PATH]", least: 0, most: 1 },
  notes: "Without a path: the presets that `sinan train --model` knows.",
  examples: [
    ["inspect runs/mine", "the newest checkpoint of a run"],
    ["inspect model.safetensors", "shapes, dtypes and bytes, repeated layers folded"],
    ["inspect config.json", "parameters, FLOPs a token, bytes of cache"],
    ["inspect tokenizer.json --json", ""],
  ],
  async run(values, [path]) {
    const [{ inspect, inspectPresets }, { grouped, bytes }] = await Promise.all([
      import("../inspection.ts"),
      import("@sinan/train"),
    ]);
    if (path === undefined) {
      const presets = inspectPresets();
      if (values.json) json(presets);
      else {
        const rows = Object.entries(presets).map(([name, c]) => [
          name,
          grouped(c.parameters),
          String(c.layers),
          String(c.hidden),
          grouped(c.vocabulary),
          grouped(c.positions),
        ]);
        print(`${table([["preset", "parameters", "layers", "width", "vocabulary", "positions"], ...rows], "")}\n`);
      }
      return 0;
    }
    const { nodeFiles } = await import("@sinan/train/node");
    const found = await inspect(nodeFiles(), path.replace(/(?<=.)\/+$/, ""), { isFolded: values.all !== true });
    if (values.json) json(found);
    else print(`${textOf(found, { grouped, bytes })}\n`);
    return 0;
  },
});

interface Figures {
  readonly grouped: (n: number) => string;
  readonly bytes: (n: number) => string;
}

function textOf({ path, kind, step, configuration, weights, optimizer, tokenizer }: Inspection, f: Figures): string {
  const title = `${path}: ${kind}${step === undefined ? "" : ` at step ${f.grouped(step)}`}`;
  return [
    title,
    ...(configuration ? [configurationText(configuration, f)] : []),
    ...(weights ? [weightsText("weights", weights, f)] : []),
    ...(optimizer ? [summary("optimizer", optimizer, f)] : []),
    ...(tokenizer ? [tokenizerText(tokenizer, f)] : []),
  ].join("\n\n");
}

function configurationText(c: ConfigFigures, { grouped, bytes }: Figures): string {
  const { forward, training } = c.flopsPerToken;
  const heads = c.heads === c.kvHeads ? `${c.heads}` : `${c.heads} of queries, ${c.kvHeads} of keys and values`;
  const lines: readonly (readonly [string, string])[] = [
    ["family", c.family],
    ["parameters", `${grouped(c.parameters)}${c.tied ? " (embedding and output are one)" : ""}`],
    ["layers", `${c.layers}, ${grouped(c.hidden)} wide, ${grouped(c.intermediate)} inside`],
    ["heads", `${heads}, ${c.headDim} wide`],
    ["vocabulary", grouped(c.vocabulary)],
    ["positions", grouped(c.positions)],
    ["FLOPs a token", `${flops(forward)} forward, ${flops(training)} in training`],
    ["cache", `${bytes(c.cacheBytesPerToken)} a token, ${bytes(c.cacheBytesPerToken * c.positions)} for all positions`],
  ];
  return `configuration\n${lines.map(([name, value]) => `  ${name.padEnd(13)}  ${value}`).join("\n")}`;
}

function flops(n: number): string {
  const units = ["", "k", "M", "G", "T"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(n) / 3)));
  return `${(n / 1000 ** power).toPrecision(3)} ${units[power]}`.trim();
}

function summary(title: string, { tensors, parameters, bytes: size, dtypes, files }: Weights, f: Figures): string {
  const kinds = Object.entries(dtypes).map(([dtype, n]) => `${f.grouped(n)} ${dtype}`);
  const where = files.length > 1 ? ` in ${files.length} files` : "";
  return `${title}: ${f.grouped(tensors)} tensors${where}, ${f.grouped(parameters)} numbers (${kinds.join(", ")}), ${f.bytes(size)}`;
}

function weightsText(title: string, weights: Weights, f: Figures): string {
  const rows = weights.groups.map(({ name, shape, dtype, count, bytes }) => [
    name,
    `[${shape.join(", ")}]`,
    dtype,
    count === 1 ? "" : `× ${count}`,
    f.bytes(bytes),
  ]);
  const notes = Object.entries(weights.metadata).map(([name, value]) => `  ${name}: ${shortened(value, 100)}`);
  return [summary(title, weights, f), table(rows), ...notes].join("\n");
}

function tokenizerText({ vocabulary, merges, addedTokens, longest }: TokenizerFigures, { grouped }: Figures): string {
  const shown = addedTokens.slice(0, 12).map(({ id, content }) => `${id} ${JSON.stringify(content)}`);
  const more = addedTokens.length > shown.length ? [`and ${addedTokens.length - shown.length} more`] : [];
  return [
    `tokenizer: ${grouped(vocabulary)} tokens, ${grouped(merges)} merges`,
    ...(shown.length > 0 ? [`  added      ${[...shown, ...more].join(", ")}`] : []),
    `  longest    ${longest.map((word) => JSON.stringify(shortened(word, 40))).join(" ")}`,
  ].join("\n");
}

const shortened = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
