/** `sinan runs`: the runs that there are, how far each is, and two of them side by side. */
import { command } from "../command.ts";
import { everywhere } from "../common-flags.ts";
import { flag, UsageError } from "../flags.ts";
import type { History } from "../history.ts";
import { json, print, table } from "../output.ts";

export const runsCommand = command({
  name: "runs",
  about: "the runs that there are, or two of them compared",
  flags: { json: flag("a JSON array"), ...everywhere },
  words: { value: "[DIR] [DIR]", least: 0, most: 2 },
  notes: "Without a directory: what is in runs. report.html in each run's directory shows its curves.",
  examples: [
    ["runs", ""],
    ["runs runs/first runs/second", "what they were told and how they ended, side by side"],
    ["runs --json", ""],
  ],
  async run(values, words) {
    const [{ historiesIn, historyOf }, { nodeFiles }] = await Promise.all([
      import("../history.ts"),
      import("@sinan/train/node"),
    ]);
    const files = nodeFiles();
    if (words.length === 2) {
      const pair: History[] = [];
      for (const path of words) {
        const found = (await files.exists(path)) ? await historyOf(files, path) : null;
        if (!found) throw new UsageError(`sinan runs: ${path} is not the directory of a run`);
        pair.push(found);
      }
      if (values.json) json(pair);
      else print(`${comparison(pair)}\n`);
      return 0;
    }
    const [directory = "runs"] = words;
    if (words.length === 0 && !(await files.exists(directory))) {
      if (values.json) json([]);
      else print("there are no runs here: sinan train begins one\n");
      return 0;
    }
    const found = await historiesIn(files, directory);
    if (values.json) json(found);
    else if (found.length === 0) print(`${directory}: there are no runs in it\n`);
    else print(`${listing(found)}\n`);
    return 0;
  },
});

const digits = (value: number | null, places: number): string => (value === null ? "–" : value.toFixed(places));

const timeOf = (seconds: number | null): string =>
  seconds === null ? "–" : new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");

function listing(runs: readonly History[]): string {
  const rows = runs.map(({ path, state, step, steps, loss, evaluation, bitsPerByte, updated }) => [
    path,
    state,
    `${step}${steps === null ? "" : ` of ${steps}`}`,
    digits(loss, 3),
    digits(evaluation, 3),
    digits(bitsPerByte, 3),
    timeOf(updated),
  ]);
  return table([["run", "state", "step", "loss", "held-out", "bits/byte", "last event, UTC"], ...rows], "");
}

function comparison(pair: readonly History[]): string {
  const row = (name: string, of: (run: History) => string): string[] => [name, ...pair.map(of)];
  const results = [
    row("", ({ path }) => path),
    row("state", ({ state }) => state),
    row("step", ({ step, steps }) => `${step}${steps === null ? "" : ` of ${steps}`}`),
    row("loss", ({ loss }) => digits(loss, 4)),
    row("held-out loss", ({ evaluation }) => digits(evaluation, 4)),
    row("bits per byte", ({ bitsPerByte }) => digits(bitsPerByte, 4)),
    row("tokens/s", ({ tokensPerSecond }) => digits(tokensPerSecond, 0)),
    row("checkpoints", ({ checkpoints }) => checkpoints.join(", ")),
    row("last event, UTC", ({ updated }) => timeOf(updated)),
  ];
  const told = [...new Set(pair.flatMap(({ settings }) => Object.keys(settings)))].sort();
  const value = ({ settings }: History, name: string): string => String(settings[name] ?? "–");
  const differ = told.filter((name) => new Set(pair.map((run) => value(run, name))).size > 1);
  const settings = differ.map((name) => row(name, (run) => value(run, name)));
  const same = `the same settings: ${told.filter((name) => !differ.includes(name)).join(", ") || "none"}`;
  return [
    table(results, ""),
    ...(settings.length > 0 ? [table([["settings that differ", "", ""], ...settings], "")] : []),
    same,
  ].join("\n\n");
}
