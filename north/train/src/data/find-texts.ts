/** Texts of the file system by path, directory or pattern, and what is kept beside them under Node. */
import fs from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import process from "node:process";
import { ArgumentError, fileError } from "sinan";
import { nodeFiles } from "../files/index.ts";
import { attempt } from "../files/system-error.ts";
import { type TextFile, textFile } from "./text-file.ts";

/** What is taken of a directory. */
const plain = ["txt", "text", "md", "jsonl", "ndjson"];
const endings = `{${[...plain, ...plain.map((ending) => `${ending}.gz`)].join()}}`;

/** The files that paths stand for: a file is itself, a directory all texts below it, anything else a pattern with `*`, `**`, `?` and
 *  `{a,b}`. In the order of the paths, those of one sorted by name, each once.
 *
 *  @throws FileError if a file is not there; ArgumentError if a directory or a pattern stands for none
 *  @example await findTexts(["corpus/*.jsonl", "books"]) */
export async function findTexts(paths: readonly string[]): Promise<TextFile[]> {
  const files = nodeFiles();
  const found = new Set<string>();
  for (const one of paths) {
    const there = (await files.exists(one)) ? (await files.stat(one)).kind : "nothing";
    const kind = there === "nothing" && /[*?[\]{}]/.test(one) ? "pattern" : there;
    if (kind === "nothing") throw fileError("read", one, "ENOENT");
    const names =
      kind === "file" ? [one] : await matching(kind === "pattern" ? one : path.join(one, `**/*.${endings}`));
    if (names.length === 0)
      throw new ArgumentError(`data: ${one}: there is no such text`, {
        hint: "Give files, directories or patterns: corpus.txt, corpus/, corpus/*.jsonl.",
      });
    for (const name of names) found.add(name);
  }
  return Promise.all([...found].map((name) => textFile(files, name)));
}

async function matching(pattern: string): Promise<string[]> {
  const names: string[] = [];
  // Not a named import: where there is no such function, the rest of this package should load.
  if (!("glob" in fs))
    throw new ArgumentError(`data: ${pattern}: this runtime does not know patterns`, {
      hint: "Give the files one by one, or use Node 22 or newer.",
    });
  for await (const entry of fs.glob(pattern, { withFileTypes: true }))
    if (entry.isFile()) names.push(path.relative("", path.join(entry.parentPath, entry.name)));
  return names.map((name) => (path.isAbsolute(pattern) ? path.resolve(name) : name)).sort();
}

/** This user's directory for token files, which it makes if need be and which nobody else may enter: `sinan` in `$XDG_CACHE_HOME`
 *  or in `~/.cache`.
 *  @throws FileError */
export async function cacheDirectory(): Promise<string> {
  const base = process.env["XDG_CACHE_HOME"];
  const directory = path.join(base && path.isAbsolute(base) ? base : path.join(homedir(), ".cache"), "sinan");
  await attempt("create the directory", directory, () => fs.mkdir(directory, { recursive: true, mode: 0o700 }));
  return directory;
}
