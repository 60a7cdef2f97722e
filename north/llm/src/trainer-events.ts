/** What a Trainer is asked for in a call, what it tells, and what it gives in the end. */
import type { BuildEvent, Out, Report, RunPlan, RunView, TrainEvent } from "@sinan/train";
import type { Baselines } from "./baselines/baselines.ts";
import type { GenerateOptions } from "./generate/options.ts";
import type { Llama } from "./model/llama.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import type { TextSource } from "./trainer-options.ts";

/** Reports, or what makes them for a run. */
export type Reports = readonly Report[] | ((start: StartEvent) => readonly Report[]);

/** A run between two steps, for a callback. */
export interface TrainerView extends RunView<Llama> {
  readonly tokenizer: Tokenizer;
  /** The text after a prompt, by the weights of now. */
  readonly generate: (prompt: string, options?: GenerateOptions) => Promise<string>;
}

/** Called with each event of the loop before it is told; the run waits for it. An event that it returns is told after. */
export type TrainerCallback = (
  event: TrainEvent,
  run: TrainerView,
) => TrainEvent | undefined | void | Promise<TrainEvent | undefined | void>;

/** What one call of `train` or `run` is asked for. */
export interface TrainCall {
  /** Length of the whole run. A resumed run has that of its checkpoint. */
  readonly steps?: number;
  /** Another text than the Trainer's: a model that was trained goes on with it, with its own tokenizer. */
  readonly data?: TextSource;
  /** The directory for checkpoints; null for none. Default: `runs/DATA-MODEL`, with a number if that is taken. */
  readonly out?: string | null;
  /** What the default directory is called after. Default: the name of the data's file. */
  readonly name?: string;
  /** Continue the run in `out`, or the last one of the default name. */
  readonly resume?: boolean;
  /** Default 100; the first, the last and the one of a run that is stopped are always saved. */
  readonly checkpointEvery?: number;
  /** Default: a fifth of the run, at least 50. */
  readonly evaluateEvery?: number;
  /** Aborted, the run ends after its step, saved. Default: Ctrl-C does so and then ends the program with code 130. */
  readonly signal?: AbortSignal;
  /** Told of everything. */
  readonly onEvent?: (event: TrainerEvent) => void;
  /** Told of everything too, and closed at the end of the run; or what makes them when a run begins. */
  readonly reports?: Reports;
  /** Called with the events of the loop, which waits for them: see `TrainerCallback`. */
  readonly callbacks?: readonly TrainerCallback[];
  /** How long after SIGTERM the program may still take to finish its step and save. Default 20. */
  readonly deadlineSeconds?: number;
  /** Keep `events.jsonl` and `report.html` in the run's directory. Default: unless the Trainer was given `files`. */
  readonly record?: boolean;
  /** Where progress is shown; null for nowhere. Default: standard error. */
  readonly progress?: Out | null;
  /** Told what does not stop the run but should be known. Default: `console.warn`. */
  readonly onWarning?: (message: string) => void;
}

/** The run before its first step. */
export interface StartEvent {
  readonly event: "start";
  readonly parameters: number;
  readonly trainTokens: number;
  readonly heldOutTokens: number;
  readonly steps: number;
  /** Steps that are done, of a run that is resumed. */
  readonly from: number;
  readonly tokensPerStep: number;
  readonly epochs: number;
  readonly directory: string | null;
}

/** The end of a run that was not stopped. */
export interface DoneEvent {
  readonly event: "done";
  readonly steps: number;
  readonly parameters: number;
  /** Of this call. */
  readonly seconds: number;
  /** Of the held-out text. */
  readonly bitsPerByte: number;
  readonly baselines: Baselines;
  readonly checkpoint: string | null;
}

/** What a Trainer tells. */
export type TrainerEvent = StartEvent | BuildEvent | TrainEvent | DoneEvent;

/** What came of a run. */
export interface TrainResult {
  /** Null if the run was stopped before its end. */
  readonly done: DoneEvent | null;
  /** Steps that are done. */
  readonly step: number;
  readonly stopped: boolean;
  /** Because evaluations no longer got better. */
  readonly stoppedEarly: boolean;
  /** The running mean of the weights, if one was kept. */
  readonly ema: Llama | null;
  /** The checkpoint of the best evaluation, where it is kept. */
  readonly best: string | null;
  readonly directory: string | null;
  readonly checkpoint: string | null;
  /** The end of the text, which was not learned from: where a prompt may come from. */
  readonly heldOutIds: Int32Array;
}

/** A run that was asked for. It begins when its events are asked for or it is awaited, whatever comes first; who stops asking for events
 *  stops the run, saved.
 *
 *  @example
 *  const run = trainer.run({ steps: 300 });
 *  console.log(String(await run.plan()));
 *  for await (const event of run) if (event.event === "step") console.log(event.loss);
 *  const { checkpoint } = await run; */
export interface TrainerRun extends AsyncIterable<TrainerEvent>, PromiseLike<TrainResult> {
  /** What the run will take: parameters, memory, operations, time. It reads the text and compiles the step, and runs nothing. */
  plan(): Promise<RunPlan>;
  /** Ends the run after its step, saved. */
  stop(): void;
}
