/** What the environment asks of a process. `SINAN_TUNING`: that its programs are compiled by a file. `SINAN_EXPLAIN`: explains every program of a process as it is compiled, and at the end where the time went. */
import { ArgumentError } from "../errors.ts";
import type { Device, Executable } from "../runtime/driver.ts";
import type { Program } from "../runtime/program.ts";
import { watch } from "../runtime/watch.ts";
import type { Heard } from "./collect.ts";
import { sections, type Section, staticText } from "./explain.ts";
import { kernelsOf } from "./kernels.ts";
import { timeText } from "./print.ts";
import { newTally } from "./time.ts";

/** @throws ArgumentError for a section that there is not */
export function sectionsIn(text: string): readonly Section[] {
  if (["1", "true", "all"].includes(text)) return sections;
  return text.split(",").map((name) => {
    const section = sections.find((s) => s === name.trim());
    if (section) return section;
    throw new ArgumentError(`SINAN_EXPLAIN: there is no section ${JSON.stringify(name)}`, {
      hint: `1 for all, or some of ${sections.join(",")}`,
    });
  });
}

/** Does what the environment asks for, once a device is open and before anything is compiled for it.
 *
 *  @param atEnd  calls a function when the process ends, where there is such a thing
 *  @throws (as a rejection) ArgumentError for sections that there are not and files that cannot be read; FormatError for a damaged one */
export async function attend(
  device: Device,
  { SINAN_EXPLAIN: asked, SINAN_TUNING: tuning }: Readonly<Record<string, string | undefined>>,
  atEnd: ((say: () => void) => void) | undefined,
): Promise<void> {
  if (tuning) (await import("../tune/process.ts")).useTuning(tuning);
  if (asked) explainAll(device, asked, atEnd);
}

/** @param text  the variable's value */
function explainAll(device: Device, text: string, atEnd: ((say: () => void) => void) | undefined): void {
  const wanted = sectionsIn(text);
  const programs: Program[] = [];
  const before = watch.by;
  watch.by = {
    event: (...what) => before?.event(...what),
    compiled(program) {
      before?.compiled?.(program);
      programs.push(program);
      if (wanted.some((s) => s !== "time"))
        void staticText(program, wanted).then(
          (said) => console.error(said),
          () => {},
        );
    },
  };
  if (!wanted.includes("time") || !atEnd || !device.trace) return;
  const tally = newTally();
  device.trace(tally.add);
  atEnd(() => {
    console.error(summary(device, programs, tally.times()));
  });
}

/** One table over all programs: a kernel is named once, however many of them share it. */
function summary({ hardware }: Device, programs: readonly Program[], times: Heard["times"]): string {
  const kernels = new Map<Executable, Parameters<typeof timeText>[0][number]>();
  for (const program of programs) {
    const loaded = program.ready;
    if (!loaded) continue;
    for (const { executable, ...kernel } of kernelsOf(loaded)) {
      const time = times.get(executable);
      if (time)
        kernels.set(executable, { ...kernel, schedule: [], choices: [], count: time.count, milliseconds: time.total });
    }
  }
  return timeText([...kernels.values()], undefined, hardware.threads ?? 1);
}
