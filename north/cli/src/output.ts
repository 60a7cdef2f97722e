/** What goes where: results to standard output, everything said about them to standard error. */
import process from "node:process";

export const print = (text: string): void => void process.stdout.write(text);
export const json = (value: unknown): void => print(`${JSON.stringify(value)}\n`);
export const warn = (message: string): void =>
  void process.stderr.write(`${process.stderr.isTTY ? "\r\u001b[2K" : ""}sinan: ${message}\n`);

/** Rows as lines with columns; those that begin with a number are set to the right. */
export function table(rows: readonly (readonly string[])[], indent = "  "): string {
  const widths = (rows[0] ?? []).map((_, c) => Math.max(...rows.map((row) => row[c]?.length ?? 0)));
  const isNumber = (c: number): boolean =>
    rows.slice(1).every((row) => /^[-+]?[\d.,]+(?:[×%]| ?[kMGT]?B)?$|^–?$/.test(row[c] ?? ""));
  const right = widths.map((_, c) => isNumber(c));
  const line = (row: readonly string[]): string =>
    widths.map((w, c) => (right[c] ? (row[c] ?? "").padStart(w) : (row[c] ?? "").padEnd(w))).join("  ");
  return rows.map((row) => `${indent}${line(row)}`.trimEnd()).join("\n");
}
