/** What goes where: results to standard output, everything said about them to standard error. */
import process from "node:process";

export const print = (text: string): void => void process.stdout.write(text);
export const json = (value: unknown): void => print(`${JSON.stringify(value)}\n`);
export const warn = (message: string): void =>
  void process.stderr.write(`${process.stderr.isTTY ? "\r\u001b[2K" : ""}sinan: ${message}\n`);

/** The device that was asked for. */
export const deviceName = (flag: string | undefined): string => flag ?? (process.env["SINAN_DEVICE"] || "cpu");
