/** A profile as a table that fits the terminal: 80 columns say where the time went and how well it was used, wider ones say more. */
import { columns, digits, percent } from "./print.ts";
import type { KernelProfile, ProfileReport } from "./profile.ts";

/** How a profile is shown. */
export interface ProfileTextOptions {
  /** Columns of the terminal; 80 if nothing is said, and at least 64. */
  readonly width?: number;
  /** Kernels that have a line of their own; 20 if nothing is said. */
  readonly rows?: number;
}

/** From so many columns on modules and lines have columns of their own, and calls their mean times. */
const wide = 120;

export function profileText(
  { milliseconds, compileMilliseconds, devices, kernels }: Omit<ProfileReport, "trace" | "toText">,
  { width = 80, rows = 20 }: ProfileTextOptions = {},
): string {
  const inKernels = kernels.reduce((sum, k) => sum + k.milliseconds, 0);
  const compiled = compileMilliseconds >= 1 ? `, compiling ${timeOf(compileMilliseconds)}` : "";
  const share = milliseconds > 0 ? ` (${percent(inKernels / milliseconds)})` : "";
  const head = [
    `profile: ${timeOf(milliseconds)}, kernels ${timeOf(inKernels)}${share}${compiled}`,
    ...devices.map(({ id, threads, peak, isTraced }) => {
      const measured = peak
        ? `: roofline ${digits(peak.flopsPerSecond / 1e9)} GFLOP/s, ${digits(peak.bytesPerSecond / 1e9)} GB/s from memory`
        : "";
      const untold = isTraced ? measured : ": does not tell what it does when";
      return `${id}, ${threads === 1 ? "one thread" : `${threads} threads`}${untold}`;
    }),
  ];
  const shown = kernels.slice(0, rows);
  const left = kernels.slice(rows);
  const rest = left.length > 0 ? [restRow(left)] : [];
  const table =
    kernels.length === 0 ? [] : [width >= wide ? wideTable(shown, rest, width) : table80(shown, rest, width)];
  return `${[...head, ...table].join("\n")}\n`;
}

/** What the columns of figures say of a kernel. */
interface Row {
  readonly name: string;
  readonly module: string;
  readonly line: string;
  readonly calls: string;
  readonly ms: string;
  readonly each: string;
  readonly share: string;
  readonly flops: string;
  readonly bytes: string;
  readonly roof: string;
  readonly bound: string;
}

function rowOf(k: KernelProfile): Row {
  const rate = (perSecond: number): string => (perSecond > 0 ? figure(perSecond / 1e9) : "");
  return {
    name: k.name,
    module: k.module ?? "",
    line: k.line ?? "",
    calls: countOf(k.launches),
    ms: figure(k.milliseconds),
    each: figure((1000 * k.milliseconds) / Math.max(1, k.launches)),
    share: percent(k.share),
    flops: rate(k.flopsPerSecond),
    bytes: rate(k.bytesPerSecond),
    roof: k.ofRoofline === undefined ? "" : percent(k.ofRoofline),
    bound: k.bound ?? "",
  };
}

function restRow(left: readonly KernelProfile[]): Row {
  const sum = (of: (k: KernelProfile) => number): number => left.reduce((total, k) => total + of(k), 0);
  return {
    module: "",
    line: "",
    each: "",
    flops: "",
    bytes: "",
    roof: "",
    bound: "",
    name: `+ ${left.length} more`,
    calls: countOf(sum((k) => k.launches)),
    ms: figure(sum((k) => k.milliseconds)),
    share: percent(sum((k) => k.share)),
  };
}

function table80(shown: readonly KernelProfile[], rest: readonly Row[], width: number): string {
  const rows = [...shown.map(rowOf), ...rest];
  const figures = ["calls", "ms", "share", "GFLOP/s", "GB/s", "roof"] as const;
  const cells = rows.map((r) => [r.calls, r.ms, r.share, r.flops, r.bytes, r.roof]);
  const taken = figures.reduce((sum, head, c) => {
    const longest = Math.max(...cells.map((row) => (row[c] ?? "").length));
    return sum + (longest === 0 ? 0 : Math.max(head.length, longest) + 1);
  }, 0);
  const room = Math.max(64, width) - taken;
  const places = rows.map((r) => (r.module === "" ? r.line : r.module));
  const longest = (words: readonly string[]): number => Math.max(...words.map((word) => word.length));
  const placeWidth = Math.min(longest(places), Math.max(14, room - 1 - longest(rows.map((r) => r.name))));
  const nameWidth = Math.max(9, Math.min(room - 1 - placeWidth, longest(rows.map((r) => r.name))));
  const body = rows.map((r, i) => [
    cutEnd(r.name, nameWidth),
    cutBegin(places[i] ?? "", placeWidth),
    ...(cells[i] ?? []),
  ]);
  return columns(["kernel", "where", ...figures], body, { left: 2, gap: " " });
}

function wideTable(shown: readonly KernelProfile[], rest: readonly Row[], width: number): string {
  const rows = [...shown.map(rowOf), ...rest];
  const each = Math.floor((width - 74) / 2);
  const body = rows.map((r) => [
    cutEnd(r.name, each),
    cutBegin(r.module, each),
    cutBegin(r.line, 24),
    r.calls,
    r.ms,
    r.each,
    r.share,
    r.flops,
    r.bytes,
    r.roof,
    r.bound,
  ]);
  const head = ["kernel", "module", "line", "calls", "ms", "µs/call", "share", "GFLOP/s", "GB/s", "roof", "bound"];
  return columns(head, body, { left: 3, gap: " " });
}

/** Three digits, and no more than two decimals. */
const figure = (value: number): string => (value < 10 ? value.toFixed(2) : digits(value));

const cutEnd = (text: string, most: number): string => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);
const cutBegin = (text: string, most: number): string => (text.length <= most ? text : `…${text.slice(1 - most)}`);

const countOf = (n: number): string => (n < 100_000 ? String(n) : `${digits(n / 1000)}k`);

/** `812 ms`, `1.20 s`. */
const timeOf = (ms: number): string => (ms < 1000 ? `${digits(ms)} ms` : `${digits(ms / 1000)} s`);
