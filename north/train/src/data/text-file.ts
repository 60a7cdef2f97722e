/** Where text comes from, piece by piece: a file of `Files`, or a `Blob` of a page. */
import { baseName, FileError, fileError, type Files, type OpenFile } from "sinan";

/** A text or JSON-lines file that may be larger than memory. */
export interface TextFile {
  /** Its path, for errors, and for what its name ends in. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** When it last changed, in milliseconds since 1970; null where that is not known: its content is then hashed each time. */
  readonly modified: number | null;
  open(): Promise<OpenFile>;
}

/** @throws FileError if it is not there or is a directory
 *  @example await textFile(nodeFiles(), "moby-dick.txt") */
export async function textFile(files: Files, path: string): Promise<TextFile> {
  if (!(await files.exists(path))) throw fileError("read", path, "ENOENT");
  const { kind, size, modified } = await files.stat(path);
  if (kind === "directory")
    throw new FileError(`cannot read ${path}: it is a directory (EISDIR)`, {
      path,
      code: "EISDIR",
      hint: `Give the files in it: "${path}/*.jsonl".`,
    });
  return { name: path, size, modified, open: () => files.open(path) };
}

/** What a page has of a file: from `<input type="file">`, or `await (await fetch(url)).blob()`. */
export interface BlobLike {
  readonly size: number;
  readonly name?: string;
  readonly lastModified?: number;
  slice(from: number, to: number): { arrayBuffer(): Promise<ArrayBuffer> };
}

/** A `Blob` or `File` as a text file; it is read slice by slice.
 *
 *  @param name  what errors call it; default: that of a `File`
 *  @example blobFile(await (await fetch("/corpus.jsonl")).blob(), "corpus.jsonl") */
export function blobFile(blob: BlobLike, name: string = blob.name ?? "blob"): TextFile {
  return {
    name,
    size: blob.size,
    modified: blob.lastModified ?? null,
    open: () =>
      Promise.resolve({
        size: blob.size,
        read: async (offset, length) => new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer()),
        close: () => Promise.resolve(),
      }),
  };
}

/** Whether each line is a document of its own. */
export const isJsonLines = (name: string): boolean => /\.(jsonl|ndjson)(\.gz)?$/i.test(baseName(name));
