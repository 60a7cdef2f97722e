/** Texts that commands are given: a file, standard input, a tokenizer somewhere in a directory. */
import { text as whole } from "node:stream/consumers";
import process from "node:process";
import { CheckpointError, type Files, FormatError, joinPath, latestCheckpoint } from "sinan";
import { type Tokenizer, tokenizerFromJson } from "@sinan/llm";

/** The text of a file; of standard input where the path is `-` or absent.
 *  @throws FileError; FormatError for bytes that are not UTF-8 */
export async function readText(files: Files, path: string | undefined): Promise<string> {
  if (path === undefined || path === "-") return whole(process.stdin);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await files.read(path));
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new FormatError(`${path}: expected UTF-8 text, found bytes that are not`, { cause });
  }
}

/** The tokenizer of a file, of a model's directory, of a checkpoint, or of a run.
 *  @throws FileError, FormatError, CheckpointError naming the file */
export async function readTokenizer(files: Files, path: string): Promise<Tokenizer> {
  const decode = (bytes: Uint8Array): Tokenizer => tokenizerFromJson(new TextDecoder().decode(bytes));
  if ((await files.exists(path)) && (await files.stat(path)).kind === "directory") {
    const inside = joinPath(path, "tokenizer.json");
    if (await files.exists(inside)) return decode(await files.read(inside));
    const latest = await latestCheckpoint(files, path, { groups: [], onWarning: () => undefined });
    const kept = latest?.blobs["tokenizer.json"];
    if (typeof kept === "string") return tokenizerFromJson(kept);
    throw new CheckpointError(`${path}: there is no tokenizer.json in it, and no checkpoint with one`);
  }
  return decode(await files.read(path));
}
