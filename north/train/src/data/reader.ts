/** The program of the thread that reads batches: it is sent steps and answers with their batches. */
import { parentPort, workerData } from "node:worker_threads";
import { FileError } from "sinan";
import { nodeFiles } from "../files/index.ts";
import type { ReaderAnswer, ReaderTask } from "./thread-source.ts";
import { openTokenFile } from "./token-file.ts";
import { tokenSource } from "./token-source.ts";

const { path, hash, options } = workerData as ReaderTask;
const source = (async () => tokenSource(await openTokenFile(await nodeFiles().open(path), path, { hash }), options))();
source.catch(() => undefined); // each step that is asked for says so

parentPort?.on("message", (step: number) => void reply(step));

async function reply(step: number): Promise<void> {
  const answer = await answerTo(step);
  const buffers = "batch" in answer ? Object.values(answer.batch as object).map((part: Int32Array) => part.buffer) : [];
  parentPort?.postMessage(answer, buffers as ArrayBuffer[]);
}

async function answerTo(step: number): Promise<ReaderAnswer> {
  try {
    return { step, batch: await (await source).at(step) };
  } catch (error) {
    if (!(error instanceof Error)) return { step, error: { name: "", message: String(error) } };
    const { name, message } = error;
    return {
      step,
      error: { name, message, ...(error instanceof FileError && { path: error.path, code: error.code }) },
    };
  }
}
