/** One input given to its reader: whether what came of it is allowed, how long it took, what it took of memory. */
import { SinanError } from "sinan";
import type { Format } from "./format.ts";

export interface Outcome {
  /** What must not happen; absent where the file was read, or refused by a typed error. */
  readonly failure?: string;
  readonly refused: boolean;
  readonly milliseconds: number;
  /** Array buffers that are more afterwards, in bytes. */
  readonly allocated: number;
}

/** Longer than this, in milliseconds of the processor, is a hang for files of some kilobytes. */
export const longest = 2000;

/** What a reader may allocate, in bytes: some megabytes of tables, and a multiple of the file. */
const mayAllocate = (bytes: number): number => 48e6 + 200 * bytes;

export async function attempt({ read }: Format, bytes: Uint8Array): Promise<Outcome> {
  const before = process.memoryUsage().arrayBuffers;
  const start = process.cpuUsage().user;
  let failure: string | undefined;
  let refused = false;
  try {
    await read(bytes);
  } catch (error) {
    refused = error instanceof SinanError;
    if (!refused) failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
    else if ((error as Error).message.length > 20_000) failure = "an error message of more than 20 000 characters";
  }
  const milliseconds = (process.cpuUsage().user - start) / 1000;
  const allocated = process.memoryUsage().arrayBuffers - before;
  if (milliseconds > longest) failure ??= `took ${milliseconds.toFixed(0)} ms`;
  if (allocated > mayAllocate(bytes.length)) failure ??= `allocated ${allocated} bytes for a file of ${bytes.length}`;
  return { ...(failure !== undefined && { failure }), refused, milliseconds, allocated };
}
