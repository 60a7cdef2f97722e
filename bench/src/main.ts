/** `npm run bench -- NAME [--json] [--no-peers] [--threads N] [--seconds S] [--quick]`: measures one bench, beside the peers that
 *  are installed. A bench is a module of this folder's `benches/`; it exports `cases`. SINAN_CPU chooses the processor's tier. */
import { globSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { type Figure, jsonLine, table } from "./figure.ts";

export interface Options {
  readonly threads: number;
  /** Whether to measure the peers that are installed in the same run. */
  readonly peers: boolean;
  /** How long to repeat each case, at least. */
  readonly seconds: number;
  /** To see that it works: fewer cases and repeats. */
  readonly quick: boolean;
}

/** What a bench module exports as `cases`: figures, each given as soon as it is measured. */
export type Cases = (options: Options) => AsyncIterable<Figure>;

const folder = path.join(import.meta.dirname, "benches");
const names = globSync("*.ts", { cwd: folder })
  .filter((file) => !file.endsWith(".test.ts"))
  .map((file) => path.basename(file, ".ts"))
  .sort();

const usage = `npm run bench -- NAME [--json] [--no-peers] [--threads N] [--seconds S] [--quick]\n  NAME is one of: ${names.join(", ")}`;

function fail(message: string): never {
  console.error(`${message}\n${usage}`);
  process.exit(2);
}

function positive(name: string, text: string): number {
  const value = Number(text);
  return value > 0 && Number.isFinite(value)
    ? value
    : fail(`--${name}: expected a positive number, got ${JSON.stringify(text)}`);
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      allowNegative: true,
      options: {
        json: { type: "boolean", default: false },
        peers: { type: "boolean", default: true },
        threads: { type: "string", default: "1" },
        seconds: { type: "string" },
        quick: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
}

const { values, positionals } = readArguments();
const [name, ...more] = positionals;
if (name === undefined || more.length > 0) fail(`expected the name of one bench, got ${positionals.length}`);
if (!names.includes(name)) fail(`there is no bench ${JSON.stringify(name)}`);

const { cases } = (await import(`./benches/${name}.ts`)) as { cases: Cases };
const figures: Figure[] = [];
const threads = positive("threads", values.threads);
const { peers, quick } = values;
const seconds = positive("seconds", values.seconds ?? (quick ? "0.2" : "2"));
for await (const figure of cases({ threads, peers, seconds, quick })) {
  if (values.json) console.log(jsonLine(figure));
  else figures.push(figure);
}
if (!values.json) console.log(table(figures));
