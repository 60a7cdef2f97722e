/** The workers of a device: threads of Node where there are any, Web Workers otherwise. */

import { type Start, threadProgram, webProgram } from "./worker.ts";

export interface Crew {
  /** While held, the process lives on; otherwise its end need not wait for the workers. */
  hold(isHeld: boolean): void;
  /** Sends each worker what there is now. */
  send(start: Start): void;
  close(): Promise<void>;
}

export interface Listener {
  /** A worker has begun, or a submission is done. */
  progress(): void;
  /** A worker is no more. `isNew`: it was lost before it could take any work. */
  lost(cause: unknown, isNew: boolean): void;
}

interface Thread {
  on(event: "message", listener: () => void): void;
  on(event: "error", listener: (cause: unknown) => void): void;
  on(event: "exit", listener: (code: number) => void): void;
  postMessage(message: unknown, transfer: readonly unknown[]): void;
  ref(): void;
  unref(): void;
  terminate(): Promise<unknown>;
}

interface WebWorker {
  addEventListener(event: "message" | "error", listener: (event: { readonly message?: string }) => void): void;
  postMessage(message: unknown, transfer: readonly unknown[]): void;
  terminate(): void;
}

interface Host {
  readonly process?: { readonly getBuiltinModule?: (name: string) => unknown };
  readonly navigator?: { readonly hardwareConcurrency?: number };
  readonly Worker?: new (url: string, options: { readonly type: "classic" | "module" }) => WebWorker;
  readonly Blob?: new (parts: readonly string[], options: { readonly type: string }) => unknown;
  readonly URL?: { createObjectURL?(blob: unknown): string; revokeObjectURL?(url: string): void };
}

const host = globalThis as unknown as Host;

interface Threads {
  readonly Worker: new (program: string, options: object) => Thread;
}

/** Node's module of threads. Asked for by name at run time, so that a bundle for browsers has nothing to resolve. */
function threadsOfNode(): Threads | undefined {
  return host.process?.getBuiltinModule?.("node:worker_threads") as Threads | undefined;
}

/** How many threads the machine runs at once; 1 where there can be no workers. */
export function coreCount(): number {
  if (!threadsOfNode() && !(host.Worker && host.Blob && host.URL?.createObjectURL)) return 1;
  return Math.max(1, Math.floor(host.navigator?.hardwareConcurrency ?? 1));
}

/** Starts so many workers.
 *
 *  @param program  where the program of a Web Worker is; made of its text if it is nowhere
 *  @throws whatever the host throws where it allows none */
export function startCrew(count: number, start: Start, listener: Listener, program?: string): Crew {
  const threads = threadsOfNode();
  return threads ? startThreads(threads, count, start, listener) : startWebWorkers(count, start, listener, program);
}

function startThreads({ Worker }: Threads, count: number, start: Start, listener: Listener): Crew {
  const program = threadProgram();
  let isClosed = false;
  const all = Array.from({ length: count }, (_, i) => {
    // Without the options of the process, which may load modules first.
    const thread = new Worker(program, { eval: true, execArgv: [], name: `sinan ${i}` });
    let isNew = true;
    let isLost = false;
    const lose = (cause: unknown): void => {
      if (isClosed || isLost) return;
      isLost = true;
      listener.lost(cause, isNew);
    };
    thread.on("message", () => {
      isNew = false;
      listener.progress();
    });
    thread.on("error", lose);
    thread.on("exit", (code) => lose(new Error(`a worker thread ended with code ${code}`)));
    thread.postMessage(start, []);
    thread.unref();
    return thread;
  });
  return {
    hold(isHeld) {
      for (const thread of all) {
        if (isHeld) thread.ref();
        else thread.unref();
      }
    },
    send(more) {
      for (const thread of all) thread.postMessage(more, []);
    },
    async close() {
      isClosed = true;
      await Promise.all(all.map((thread) => thread.terminate()));
    },
  };
}

function startWebWorkers(count: number, start: Start, listener: Listener, program: string | undefined): Crew {
  const { Worker, Blob, URL } = host;
  if (!Worker || !Blob || !URL?.createObjectURL) throw new Error("there are no Web Workers here");
  const url = program ?? URL.createObjectURL(new Blob([webProgram()], { type: "text/javascript" }));
  let starting = count;
  const all = Array.from({ length: count }, () => {
    const worker = new Worker(url, { type: program === undefined ? "classic" : "module" });
    let isNew = true;
    const begun = (): void => {
      if (isNew && --starting === 0 && program === undefined) URL.revokeObjectURL?.(url);
      isNew = false;
    };
    worker.addEventListener("message", () => {
      begun();
      listener.progress();
    });
    worker.addEventListener("error", ({ message }) => {
      listener.lost(new Error(message ?? "a Web Worker failed"), isNew);
      begun();
    });
    worker.postMessage(start, []);
    return worker;
  });
  return {
    hold() {},
    send(more) {
      for (const worker of all) worker.postMessage(more, []);
    },
    async close() {
      for (const worker of all) worker.terminate();
    },
  };
}
