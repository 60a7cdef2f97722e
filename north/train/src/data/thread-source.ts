/** Batches read by a thread of their own, under Node: the thread that computes only takes them. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { ArgumentError, type data, FileError, FormatError } from "sinan";
import type { TokenFile } from "./token-file.ts";
import { type Source, type SourceOptions, tokenSource } from "./token-source.ts";

type AnyBatch = data.Batch | data.PackedBatch;

/** What the thread is started with. */
export interface ReaderTask {
  readonly path: string;
  readonly hash: string;
  readonly options: SourceOptions;
}

/** What the thread says to a step. */
export type ReaderAnswer =
  | { readonly step: number; readonly batch: AnyBatch }
  | { readonly step: number; readonly error: ReaderError };

/** An error as it goes from thread to thread, which keeps no classes. */
export interface ReaderError {
  readonly name: string;
  readonly message: string;
  readonly path?: string | undefined;
  readonly code?: string | undefined;
}

/** `tokenSource` in a thread. The thread does not keep the process alive but while a batch is on its way; where its program is not
 *  there, as in a bundle, this thread reads.
 *
 *  @throws ArgumentError as `tokenSource`; what goes wrong later is the error of the step's batch
 *  @example const source = readAhead(threadSource(tokens, { batch: 8, sequence: 256, seed: 0 })); */
export function threadSource(tokens: TokenFile & { readonly path: string }, options: SourceOptions): Source<AnyBatch> {
  const here = tokenSource(tokens, options); // finds what is wrong with the options
  const program = new URL("./reader.ts", import.meta.url);
  if (!import.meta.url.endsWith(".ts")) program.pathname = program.pathname.replace(/\.ts$/, ".js");
  if (!existsSync(fileURLToPath(program))) return here;

  const task: ReaderTask = { path: tokens.path, hash: tokens.hash, options };
  const worker = new Worker(program, { workerData: task, name: "sinan reader", execArgv: [] });
  worker.unref();
  const waiting = new Map<number, PromiseWithResolvers<AnyBatch>>();
  let ended: Error | undefined;
  const end = (error: Error): void => {
    ended ??= error;
    for (const asked of waiting.values()) asked.reject(ended);
    waiting.clear();
  };
  worker.on("message", (answer: ReaderAnswer) => {
    const asked = waiting.get(answer.step);
    waiting.delete(answer.step);
    if (waiting.size === 0) worker.unref();
    if ("batch" in answer) asked?.resolve(answer.batch);
    else asked?.reject(errorOf(answer.error));
  });
  worker.on("error", (error: unknown) =>
    end(errorOf(error instanceof Error ? error : { name: "", message: String(error) })),
  );
  worker.on("exit", () => end(new FileError(`the thread that reads ${tokens.path} ended`, { path: tokens.path })));
  return {
    at(step) {
      const known = waiting.get(step);
      if (known) return known.promise;
      if (ended) throw ended;
      const asked = Promise.withResolvers<AnyBatch>();
      waiting.set(step, asked);
      worker.ref();
      worker.postMessage(step, []);
      return asked.promise;
    },
    ids: here.ids,
    async close() {
      end(new ArgumentError("the source of batches is closed"));
      await worker.terminate();
      await here.close();
    },
  };
}

/** The error again, in its class. What is none of ours is a failure of reading. */
function errorOf({ name, message, path, code }: ReaderError): Error {
  if (name === "ArgumentError") return new ArgumentError(message);
  if (name === "FormatError") return new FormatError(message);
  const where = { ...(path === undefined ? {} : { path }), ...(code === undefined ? {} : { code }) };
  return new FileError(name === "FileError" ? message : `the reading thread failed: ${name}: ${message}`, where);
}
