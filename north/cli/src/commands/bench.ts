/** `sinan bench`: in some seconds, what this machine does with the work of a language model. */
import { command } from "../command.ts";
import { deviceFlag, everywhere } from "../common-flags.ts";
import { flag, real } from "../flags.ts";
import { json, print, table } from "../output.ts";

export const benchCommand = command({
  name: "bench",
  about: "how fast this machine is: products, memory, a model's steps",
  flags: {
    seconds: real("X", 0.05, 600, "for each figure (default 1)"),
    device: deviceFlag,
    json: flag("a JSON array"),
    ...everywhere,
  },
  notes:
    "Medians. Figures of a busy machine are low; `npm run bench` in the sources measures more, beside other frameworks.",
  examples: [
    ["bench", ""],
    ["bench --device cpu --seconds 5 --json", ""],
  ],
  async run(values) {
    const [{ openDevice }, { measures }] = await Promise.all([import("../opened.ts"), import("../benchmarks.ts")]);
    const hardware = await openDevice(values.device);
    const rows: string[][] = [];
    const found: object[] = [];
    for await (const { name, value, unit } of measures(values.seconds ?? 1)) {
      found.push({ device: hardware.id, name, value, unit });
      rows.push([name, grouped(value), unit]);
    }
    if (values.json) json(found);
    else print(`${table([[`on ${hardware.id}`, "", ""], ...rows], "")}\n`);
    return 0;
  },
});

/** Three digits: `8,700`, `55.3`, `0.123`. */
const grouped = (value: number): string =>
  Number(value.toPrecision(3)).toLocaleString("en-US", { maximumFractionDigits: 6 });
