/** An explanation as text: sections of aligned columns, made to be read in a terminal. */
import type { Footprint } from "../compiler/footprint.ts";
import type { Kernel, ScheduleReport } from "./kernels.ts";
import type { Roofline } from "./roofline.ts";

/** What a pass did to the graph. */
export interface PassReport {
  readonly name: string;
  /** Nodes of the function, and of fusion the groups. */
  readonly nodes: number;
  readonly milliseconds: number;
  /** The function as the IR prints it. */
  readonly text: string;
}

/** A kernel of a plan. */
export interface KernelReport extends Omit<Kernel, "executable">, ScheduleReport {
  /** Of all its launches in one call; undefined where the device does not tell. */
  readonly milliseconds: number | undefined;
}

type Row = readonly string[];

/** Columns, the first ones to the left, the others to the right. Empty columns go. */
export function columns(head: Row, rows: readonly Row[], { left = 1, gap = "  " } = {}): string {
  const shown = head.map((_, c) => c).filter((c) => rows.some((row) => row[c] !== ""));
  const widths = shown.map((c) => Math.max(...[head, ...rows].map((row) => (row[c] ?? "").length)));
  const line = (row: Row): string =>
    shown
      .map((c, i) => {
        const width = widths[i] ?? 0;
        return c < left ? (row[c] ?? "").padEnd(width) : (row[c] ?? "").padStart(width);
      })
      .join(gap)
      .trimEnd();
  return [line(head), ...rows.map(line)].join("\n");
}

const indent = (text: string, by = "  "): string => text.replaceAll(/^(?=.)/gm, by);

/** Three digits. */
export const digits = (value: number): string => {
  if (value === 0) return "0";
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(decimals, 4));
};
export const percent = (part: number): string => `${Math.round(100 * part)} %`;

export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  const power = Math.min(3, Math.max(0, Math.floor(Math.log2(Math.max(bytes, 1)) / 10)));
  return `${power === 0 ? bytes : digits(bytes / 1024 ** power)} ${units[power]}`;
}

/** A table of the passes, then what each has made where that is something new; of fusion, the groups that become kernels. */
export function passesText(passes: readonly PassReport[]): string {
  const table = columns(
    ["pass", "nodes", "ms"],
    passes.map(({ name, nodes, milliseconds }) => [name, String(nodes), digits(milliseconds)]),
  );
  const texts = passes.flatMap(({ name, text }, i) =>
    i > 0 && text === passes[i - 1]?.text ? [] : [`\n  ${name}:\n${indent(text.trimEnd(), "    ")}\n`],
  );
  return `passes\n${indent(table)}\n${texts.join("")}`;
}

/** Equal neighbours once, with their number. */
function counted(words: readonly string[]): string {
  const runs: { readonly word: string; count: number }[] = [];
  for (const word of words) {
    const last = runs.at(-1);
    if (last?.word === word) last.count++;
    else runs.push({ word, count: 1 });
  }
  return runs.map(({ word, count }) => (count > 1 ? `${word} ×${count}` : word)).join(", ");
}

const mostSites = 3;

export function kernelsText(kernels: readonly KernelReport[]): string {
  const text = kernels.map(({ name, count, schedule, choices, sites }) => {
    const more = sites.length > mostSites ? [`and ${sites.length - mostSites} more`] : [];
    const own = [...sites.slice(0, mostSites), ...more].map((site) => `\n    ${site}`).join("");
    const how = schedule.length > 0 ? `\n    ${counted(schedule)}` : "";
    const chosen = choices.map(({ name: what, value, heuristic }) =>
      value === heuristic ? `${what} ${value}` : `${what} ${value} (tuned, not ${heuristic})`,
    );
    const open = chosen.length > 0 ? `\n    ${chosen.join(", ")}` : "";
    return `  ${name}${count > 1 ? ` ×${count}` : ""}${own}${open}${how}`;
  });
  return `kernels\n${text.join("\n")}\n`;
}

export function timeText(kernels: readonly KernelReport[], peak: Roofline | undefined, threads: number): string {
  const timed = kernels.flatMap((k) => (k.milliseconds === undefined ? [] : [{ ...k, ms: k.milliseconds }]));
  if (timed.length === 0) return "time\n  the device does not tell when it ran what\n";
  const total = timed.reduce((sum, { ms }) => sum + ms, 0);
  const rows = timed
    .sort((a, b) => b.ms - a.ms)
    .map(({ name, count, flops, bytes, ms }) => {
      const perSecond = (amount: number): number => (amount * count * 1000) / ms;
      return [
        name,
        count > 1 ? `×${count}` : "",
        digits(ms),
        percent(ms / total),
        digits(perSecond(flops) / 1e9),
        peak ? percent(perSecond(flops) / peak.flopsPerSecond) : "",
        digits(perSecond(bytes) / 1e9),
        peak ? percent(perSecond(bytes) / peak.bytesPerSecond) : "",
      ];
    });
  const table = columns(["kernel", "", "ms", "share", "GFLOP/s", "of peak", "GB/s", "of peak"], rows);
  const measured = peak
    ? `, of ${digits(peak.flopsPerSecond / 1e9)} GFLOP/s and ${digits(peak.bytesPerSecond / 1e9)} GB/s from memory, as measured`
    : "";
  return `time: ${digits(total)} ms on ${threads === 1 ? "one thread" : `${threads} threads`}${measured}\n${indent(table)}\n`;
}

export function memoryText(memory: Footprint): string {
  const { peakBytes, argumentBytes, resultBytes, arenaBytes, step, holders } = memory;
  const parts = `arguments ${bytesText(argumentBytes)}, results ${bytesText(resultBytes)}, temporaries ${bytesText(arenaBytes)}`;
  const rows = holders.map(({ bytes, kind, name }) => [`${kind.padEnd(9)}  ${bytesText(bytes).padStart(9)}  ${name}`]);
  return `memory: ${bytesText(peakBytes)} at the peak: ${parts}\n  alive at step ${step}:\n${rows.map(([row]) => `    ${row}`).join("\n")}\n`;
}
