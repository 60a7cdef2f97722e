/** Texts that are kept as gzip files: their bytes as they were before, piece by piece, by what browsers and Node have for it. */
import { ArgumentError, FormatError } from "sinan";

export const isGzip = (name: string): boolean => /\.gz$/i.test(name);

/** What both have, and their types do not share. */
interface Inflating {
  readonly writable: { getWriter(): Writer };
  readonly readable: { getReader(): Reader };
}
interface Writer {
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
  abort(reason?: unknown): Promise<void>;
}
interface Reader {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array }>;
  cancel(reason?: unknown): Promise<void>;
}
const host = globalThis as { readonly DecompressionStream?: new (format: "gzip") => Inflating };

/** The bytes that pieces of a gzip file stand for; only as many pieces are read as the bytes that are taken need.
 *
 *  @param name  of the file, for errors
 *  @throws FormatError if they are no gzip file, a damaged one or a part of one; what reading a piece throws; ArgumentError where there
 *    is no `DecompressionStream` */
export async function* gunzipped(pieces: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  if (!host.DecompressionStream)
    throw new ArgumentError(`${name}: this runtime has no DecompressionStream`, {
      hint: "Unpack the file with gunzip.",
    });
  const stream = new host.DecompressionStream("gzip");
  const [writer, reader] = [stream.writable.getWriter(), stream.readable.getReader()];
  /** Why a piece could not be read, which is no fault of what is in the file. */
  let unread: { readonly error: unknown } | undefined;
  const fed = feed();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(async (cause: unknown) => {
        await fed;
        if (unread) throw unread.error;
        throw new FormatError(`${name}: expected a gzip file, found one that is damaged or not whole`, {
          cause,
          hint: "Try gzip --test, and copy the file again.",
        });
      });
      if (done || !value) break;
      yield value;
    }
  } finally {
    // Whoever takes no more bytes ends the reading of the file, too.
    await Promise.allSettled([reader.cancel(), writer.abort()]);
    await fed;
  }

  /** Hands the pieces over, each when there is room for it; ends without one when the reader has found them damaged. */
  async function feed(): Promise<void> {
    try {
      for await (const piece of pieces) {
        const failed = await writer.write(piece).then(
          () => false,
          () => true,
        );
        if (failed) return;
      }
      await writer.close().catch(() => undefined);
    } catch (error) {
      unread = { error };
      await writer.abort(error).catch(() => undefined);
    }
  }
}
