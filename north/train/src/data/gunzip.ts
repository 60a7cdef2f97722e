/** Texts that are kept as gzip files: their bytes as they were before, piece by piece. Node's own streams are used where they are: they
 *  read files of several members, one behind another, of which a browser's `DecompressionStream` takes one. */
import { ArgumentError, FormatError } from "sinan";

/** Whether a file of this name is unpacked when it is read. */
export const isGzip = (name: string): boolean => /\.gz$/i.test(name);

type Pieces = AsyncIterable<Uint8Array>;

/** The bytes that pieces of a gzip file stand for; only as many pieces are read as the bytes that are taken need.
 *
 *  @param name  of the file, for errors
 *  @throws FormatError if they are no gzip file, a damaged one or a part of one; what reading a piece throws; ArgumentError where there
 *    is nothing that unpacks */
export async function* gunzipped(pieces: Pieces, name: string): AsyncGenerator<Uint8Array> {
  /** Why a piece could not be read, which is no fault of what is in the file. */
  let unread: { readonly error: unknown } | undefined;
  let bytes = 0;
  async function* heeded(): AsyncGenerator<Uint8Array> {
    try {
      for await (const piece of pieces) {
        bytes += piece.length;
        yield piece;
      }
    } catch (error) {
      unread = { error };
      throw error;
    }
  }
  try {
    yield* unpacking(name)(heeded());
  } catch (cause) {
    if (unread) throw unread.error;
    if (cause instanceof ArgumentError) throw cause;
    throw damaged(name, cause);
  }
  if (bytes === 0) throw damaged(name);
}

const damaged = (name: string, cause?: unknown): FormatError =>
  new FormatError(`${name}: expected a gzip file, found one that is damaged or not whole`, {
    cause,
    hint: "Try gzip --test, and copy the file again. In a page a file may have one member only.",
  });

interface NodeStream extends AsyncIterable<Uint8Array> {
  pipe(to: NodeStream): NodeStream;
  on(event: "error", listener: (error: Error) => void): NodeStream;
  destroy(error?: Error): NodeStream;
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
/** What hosts have, some of them. */
const host = globalThis as {
  readonly process?: { readonly getBuiltinModule?: (name: string) => unknown };
  readonly DecompressionStream?: new (
    format: "gzip",
  ) => {
    readonly writable: { getWriter(): Writer };
    readonly readable: { getReader(): Reader };
  };
};

function unpacking(name: string): (pieces: Pieces) => AsyncIterable<Uint8Array> {
  const builtin = (module: string): unknown => host.process?.getBuiltinModule?.(module);
  const zlib = builtin("node:zlib") as { createGunzip(): NodeStream } | undefined;
  const stream = builtin("node:stream") as { readonly Readable: { from(pieces: Pieces): NodeStream } } | undefined;
  if (zlib && stream) return (pieces) => byNode(stream.Readable.from(pieces), zlib.createGunzip());
  const { DecompressionStream } = host;
  if (!DecompressionStream)
    throw new ArgumentError(`${name}: this runtime has no DecompressionStream`, {
      hint: "Unpack the file with gunzip.",
    });
  return (pieces) => {
    const { writable, readable } = new DecompressionStream("gzip");
    return byStream(pieces, writable.getWriter(), readable.getReader());
  };
}

async function* byNode(source: NodeStream, gunzip: NodeStream): AsyncGenerator<Uint8Array> {
  try {
    yield* source.on("error", (error) => void gunzip.destroy(error)).pipe(gunzip);
  } finally {
    gunzip.destroy();
    source.destroy();
  }
}

async function* byStream(pieces: Pieces, writer: Writer, reader: Reader): AsyncGenerator<Uint8Array> {
  const fed = feed().then(
    () => undefined,
    (error: unknown) => writer.abort(error).catch(() => undefined),
  );
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || !value) return;
      yield value;
    }
  } finally {
    // Whoever takes no more bytes ends the reading of the file, too.
    await Promise.allSettled([reader.cancel(), writer.abort()]);
    await fed;
  }

  /** Hands the pieces over, each when there is room for it. */
  async function feed(): Promise<void> {
    for await (const piece of pieces) await writer.write(piece);
    await writer.close();
  }
}
