/** Which programs run, and how long their kernels take: what is worth a search. */
import { collect } from "../explain/collect.ts";
import type { TimedProgram } from "./tune.ts";

/** Programs that are listened for. */
export interface Listening {
  /** Ends it: the programs that ran, with the times of their kernels. */
  stop(): TimedProgram[];
}

/** Listens for programs from now on, on every device. One at a time, and not while something is profiled.
 *
 *  @example const listening = listenForPrograms(); await train(); await tunePrograms(listening.stop(), { seconds: 60 }); */
export function listenForPrograms(): Listening {
  const collector = collect(undefined, 0);
  return {
    stop() {
      const { programs, heard } = collector.stop();
      return programs.map((program) => ({
        program,
        times: heard.find(({ device }) => device === program.stream.device)?.times ?? new Map(),
      }));
    },
  };
}
