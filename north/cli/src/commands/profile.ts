/** `sinan profile`: runs a program, and says at its end where the time went. */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { command } from "../command.ts";
import { everywhere } from "../common-flags.ts";
import { flag, text, UsageError, whole } from "../flags.ts";

export const profileCommand = command({
  name: "profile",
  about: "runs a program and says where its time went, kernel by kernel",
  words: { value: "FILE [-- ARGUMENTS]", least: 1, most: 1000 },
  flags: {
    trace: text("FILE", "also a trace for ui.perfetto.dev: kernels on each thread, passes, reads"),
    rows: whole("N", 1, 100_000, "kernels that have a line of their own (default 20)"),
    json: flag("a JSON object instead of the table; the program's own output goes to standard error"),
    device: text("NAME", "the program's default device, as SINAN_DEVICE"),
    ...everywhere,
  },
  notes: `The table: calls and milliseconds of each kernel, its share of the time of all, and how well it used the machine: operations and
bytes in a second, and the roofline's least time as a part of the time it took. 120 columns show modules, lines and the time of a call.
Hardware counters are there where \`perf\` may count. A program that ends by process.exit() is profiled without the roofline.`,
  examples: [
    ["profile train.ts", ""],
    ["profile train.ts --trace trace.json -- --steps 50", "with arguments, and a trace"],
    ["profile train.ts --json > profile.json", ""],
  ],
  async run({ trace, rows, json, device }, [file = "", ...args]) {
    const [{ programAt, runToItsEnd, sinanOf }, { startCounters }, { print, warn }] = await Promise.all([
      import("../program.ts"),
      import("../counters.ts"),
      import("../output.ts"),
    ]);
    const program = programAt(file);
    if (!program) throw new UsageError(`sinan profile: there is no file ${JSON.stringify(file)}`);
    if (device !== undefined) process.env["SINAN_DEVICE"] = device;
    const { startProfile } = await sinanOf(program, "sinan/explain");
    const write = process.stdout.write.bind(process.stdout);
    if (json) process.stdout.write = process.stderr.write.bind(process.stderr);
    const counters = startCounters(process.pid);
    const profiling = startProfile();
    type Report = ReturnType<typeof profiling.stop>;
    const say = (report: Report, counted?: Awaited<ReturnType<typeof counters.stop>>): void => {
      process.stdout.write = write;
      if (trace !== undefined) writeFileSync(trace, report.trace);
      if (json) {
        const { trace: _, ...figures } = report;
        print(`${JSON.stringify({ ...figures, counters: counted?.counts ?? null })}\n`);
        return;
      }
      const width = process.stdout.columns ?? 80;
      const more = counted ? `${counted.text}\n` : "";
      print(`\n${report.toText({ width, ...(rows === undefined ? {} : { rows }) })}${more}`);
    };
    const { code, error } = await runToItsEnd(program, args, () => {
      counters.kill();
      say(profiling.stop());
    });
    const report = profiling.finish();
    say(await report, await counters.stop());
    if (error !== undefined) warn(error instanceof Error ? (error.stack ?? String(error)) : String(error));
    return code;
  },
});
