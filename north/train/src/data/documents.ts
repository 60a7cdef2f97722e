/** Documents of text and JSON-lines files, read a piece at a time: what is held is one piece, or one line. */
import { FormatError } from "sinan";
import { gunzipped, isGzip } from "./gunzip.ts";
import { isJsonLines, type TextFile } from "./text-file.ts";

/** A part of a document's text. The last part ends the document. */
export interface DocumentPart {
  readonly text: string;
  readonly last: boolean;
}

/** How files become documents. */
export interface DocumentOptions {
  /** The field of a JSON line that has its text. Default "text". */
  readonly field?: string;
  /** What to do about a line that is not JSON, or has no text in that field. Default "throw". */
  readonly onBadLine?: "throw" | "skip";
}

/** What is asked for at a time, in bytes. */
export const pieceBytes = 1 << 20;
/** A line that goes on for longer is none. */
const longestLine = 1 << 26;

interface Told {
  /** Every piece of the file, in order: for its hash. */
  piece(bytes: Uint8Array): void;
  /** A line that was skipped. */
  skipped(): void;
}

/** The documents of a file: a text is one, a JSON-lines file has one a line. Lines of blanks are none. What is named `.gz` is unpacked.
 *
 *  @throws FormatError naming file and line for bytes that are not UTF-8, and for a bad line unless those are skipped; for a damaged
 *    gzip file */
export async function* documentsOf(file: TextFile, options: DocumentOptions, told: Told): AsyncGenerator<DocumentPart> {
  yield* isJsonLines(file.name) ? jsonDocuments(file, options, told) : textDocument(file, told);
}

async function* textDocument(file: TextFile, told: Told): AsyncGenerator<DocumentPart> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let line = 1;
  const decode = (bytes: Uint8Array, stream: boolean): string => {
    try {
      return decoder.decode(bytes, { stream });
    } catch (cause) {
      throw new FormatError(`${file.name}: expected UTF-8 text, found bytes that are not, after line ${line}`, {
        cause,
        hint: "Convert the file to UTF-8.",
      });
    }
  };
  for await (const bytes of contentOf(file, told)) {
    yield { text: decode(bytes, true), last: false };
    for (const byte of bytes) if (byte === newline) line++;
  }
  yield { text: decode(new Uint8Array(0), false), last: true };
}

const newline = 10;

async function* jsonDocuments(
  file: TextFile,
  { field = "text", onBadLine = "throw" }: DocumentOptions,
  told: Told,
): AsyncGenerator<DocumentPart> {
  let number = 0;
  for await (const bytes of linesOf(file, told)) {
    number++;
    const text = bytes === "too long" ? { bad: `it is longer than ${longestLine} bytes` } : textOf(bytes, field);
    if (text === null) continue;
    if (typeof text === "string") {
      yield { text, last: true };
      continue;
    }
    if (onBadLine === "skip") {
      told.skipped();
      continue;
    }
    throw new FormatError(`${file.name}: line ${number}: ${text.bad}`, {
      hint: `Each line should be like {"${field}": "..."}. Name another field, or skip such lines with onBadLine: "skip".`,
    });
  }
}

/** A line's text; null if the line is empty; otherwise what is wrong with it. */
function textOf(bytes: Uint8Array, field: string): string | null | { readonly bad: string } {
  let value: unknown;
  try {
    const line = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (line.trim() === "") return null;
    value = JSON.parse(line);
  } catch (error) {
    return { bad: error instanceof SyntaxError ? `not valid JSON: ${error.message}` : "not UTF-8" };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return {
      bad: `expected an object, found ${value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`}`,
    };
  if (!Object.hasOwn(value, field)) {
    const names = Object.keys(value).slice(0, 8).join(", ");
    return { bad: `there is no field "${field}"${names === "" ? "" : ` (there are ${names.slice(0, 200)})`}` };
  }
  const text = (value as Record<string, unknown>)[field];
  return typeof text === "string" ? text : { bad: `the field "${field}" is no text` };
}

/** Lines without their ends. */
async function* linesOf(file: TextFile, told: Told): AsyncGenerator<Uint8Array | "too long"> {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  let tooLong = false;
  const take = (rest: Uint8Array): Uint8Array | "too long" => {
    const line = tooLong ? "too long" : held.length === 0 ? rest : joined([...held, rest]);
    held = [];
    heldBytes = 0;
    tooLong = false;
    return line;
  };
  for await (const bytes of contentOf(file, told)) {
    let from = 0;
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, from)) {
      yield take(bytes.subarray(from, end));
      from = end + 1;
    }
    if (from === bytes.length || tooLong) continue;
    held.push(bytes.subarray(from));
    heldBytes += bytes.length - from;
    if (heldBytes > longestLine) {
      held = [];
      tooLong = true;
    }
  }
  if (heldBytes > 0) yield take(new Uint8Array(0));
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** The bytes of a text, each of them unpacked; those of the file are told. */
function contentOf(file: TextFile, told: Told): AsyncGenerator<Uint8Array> {
  const pieces = tellingPieces();
  return isGzip(file.name) ? gunzipped(pieces, file.name) : pieces;

  async function* tellingPieces(): AsyncGenerator<Uint8Array> {
    for await (const bytes of piecesOf(file)) {
      told.piece(bytes);
      yield bytes;
    }
  }
}

/** The bytes of a file, in pieces. */
export async function* piecesOf(file: TextFile): AsyncGenerator<Uint8Array> {
  const open = await file.open();
  try {
    for (let at = 0; at < open.size; at += pieceBytes) yield await open.read(at, Math.min(pieceBytes, open.size - at));
  } finally {
    await open.close();
  }
}
