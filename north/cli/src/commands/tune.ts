/** `sinan tune`: searches schedules for the kernels of a program, or of a part of `sinan bench`, and keeps them in a file. */
import { command } from "../command.ts";
import { deviceFlag, everywhere } from "../common-flags.ts";
import { flag, real, text, whole } from "../flags.ts";

export const tuneFlags = {
  out: text("FILE", "where what is found is kept, and added to (default sinan-tuning.json)"),
  seconds: real("X", 0.1, 1e6, "for the search (default 60)"),
  kernels: whole(
    "N",
    1,
    100_000,
    "only the N slowest kernels (default: all that take a hundredth of the time or more)",
  ),
  beam: whole("N", 1, 64, "schedules that go on from one round to the next (default 3)"),
  reorder: flag("also sums in another order: results then differ in their last bits"),
  again: flag("search anew what is in the file already"),
  device: deviceFlag,
  json: flag("a JSON array on standard output, one object for each kernel"),
  ...everywhere,
} as const;

export const tuneCommand = command({
  name: "tune",
  about: "searches the schedules of a program's kernels, and keeps what is faster",
  words: { value: "FILE|product|training|generation [-- ARGUMENTS]", least: 1, most: 1000 },
  flags: tuneFlags,
  notes: `The program is run to its end, then its kernels are run alone, the slowest first, on random inputs, under schedules that differ in tiles,
packing, blocks and what is unrolled. One counts if it is 2 % faster and computes the same bits. Ctrl-C keeps what was found.
A plan knows of the file only where it is asked to: SINAN_TUNING=sinan-tuning.json, or jit's option \`tune\`.`,
  examples: [
    ["tune train.ts --seconds 120", ""],
    ["tune training --out laptop.json", "a training step of llama-tiny"],
    ["tune train.ts --kernels 5 -- --steps 20", "the program with arguments"],
  ],
  async run(values, words) {
    return (await import("../tuning.ts")).tuned(values, words);
  },
});
