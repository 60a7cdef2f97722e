/** Compilers that do what a test wants, as shell scripts. A unit's text is itself a script: it finds `$out`, the file that it should
 *  make, and `$object`, a file that passes for a shared object. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { after } from "node:test";
import { type Compiler, findCompiler } from "./compiler.ts";
import { isFolder } from "../store/entries.ts";
import { openStore } from "../store/store.ts";

/** A directory that is gone after the tests of the file. */
export function temporary(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-native-test-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** All that lies in a cache, by its path there; but for the folders of its entries. */
export const inCache = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => !isFolder(name))
    .sort();

/** Why none of this works here. */
export const noShell = process.platform === "win32" ? "there is no shell for scripts" : false;

const machines: Record<string, [macro: string, elf: number]> = {
  x64: ["__x86_64__", 62],
  arm64: ["__aarch64__", 183],
  riscv64: ["__riscv", 243],
};
const [machine, elf] = machines[process.arch] ?? ["__x86_64__", 62];
const system = process.platform === "darwin" ? "__APPLE__" : "__linux__";

/** What gcc 12 for this machine defines, in part. */
export const macros: Readonly<Record<string, string>> = {
  __GNUC__: "12",
  [machine]: "1",
  [system]: "1",
  __SIZEOF_POINTER__: "8",
  __FAST__: "1",
};

/** A header of ELF-64 with one segment, and the segment. */
export function tinyObject(bytes = 4096): Uint8Array {
  const view = new DataView(new ArrayBuffer(bytes));
  view.setUint32(0, 0x7f45_4c46);
  view.setUint8(4, 2); // 64 bits
  view.setUint8(5, 1); // little-endian
  view.setUint16(16, 3, true); // a shared object
  view.setUint16(18, elf, true);
  view.setBigUint64(32, 64n, true); // where its one segment is described, in 56 bytes
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true); // to be loaded
  view.setBigUint64(64 + 32, BigInt(bytes), true);
  return new Uint8Array(view.buffer);
}

export interface Fake {
  /** What it does when it is asked for its version, for its macros, and to build. Each a piece of shell script. */
  readonly version?: string;
  readonly macros?: string;
  readonly build?: string;
}

/** Writes a compiler. Each call of it is a line in `calls` beside it.
 *  @returns its path */
export function fakeCompiler(folder: string, name: string, fake: Fake = {}): string {
  mkdirSync(folder, { recursive: true });
  const [object, known] = [path.join(folder, "object"), path.join(folder, "macros")];
  writeFileSync(object, tinyObject());
  const text = Object.entries(macros).map(([macro, value]) => `#define ${macro} ${value}\n`);
  writeFileSync(known, text.join(""));
  const file = path.join(folder, name);
  writeFileSync(
    file,
    `#!/bin/sh
PATH=/usr/bin:/bin
object='${object}'
echo "$*" >> '${path.join(folder, "calls")}'
for word in "$@"; do [ "$last" = -o ] && out=$word; last=$word; case $word in *.c) source=$word;; esac; done
case "$*" in
*--version*) ${fake.version ?? "echo fake 12.0"} ;;
*-dM*) ${fake.macros ?? `cat '${known}'`} ;;
*trial.c*) ${fake.build ?? 'cp "$object" "$out"'} ;;
*) . "./$source" ;;
esac
`,
  );
  chmodSync(file, 0o755);
  return file;
}

/** How often a compiler of that folder was called. */
export function callsIn(folder: string): number {
  try {
    return readFileSync(path.join(folder, "calls"), "utf8").trim().split("\n").length;
  } catch {
    return 0;
  }
}

/** A well-behaved fake as `build` takes it. */
export async function fakeFound(folder: string): Promise<Compiler> {
  const environment = { ...process.env, SINAN_CC: fakeCompiler(folder, "cc"), SINAN_CACHE_MB: "0" };
  const found = await findCompiler({ store: openStore({ environment }), environment });
  if ("refused" in found) assert.fail(found.text);
  return found;
}

/** Whether a process is there and not only waits to be taken note of. */
export function isAlive(id: number): boolean {
  try {
    process.kill(id, 0);
  } catch {
    return false;
  }
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${id}/stat`, "utf8"));
  } catch {
    return process.platform !== "linux";
  }
}
