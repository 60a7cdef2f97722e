/** `sinan/tune`: searches schedules by measuring them, and keeps what was found in a file. */
export type { Choices } from "./choices.ts";
export { meanings } from "./choices.ts";
export { parseTuning, readTuning, type TuningEntry, type TuningFile, tuningText, writeTuning } from "./file.ts";
export { useTuning } from "./process.ts";
export { type Listening, listenForPrograms } from "./listen.ts";
export { type TimedProgram, tune, type TuneOptions, tunePrograms, type TuneProgress } from "./tune.ts";
