/** What a run tells while it goes on: the one stream that displays, reports and callbacks read. */
import type { Evaluation } from "./task.ts";

/** A step that was taken. */
export interface StepEvent {
  readonly event: "step";
  /** Steps that are done: 1 after the first. */
  readonly step: number;
  readonly loss: number;
  /** Global norm of the gradient before clipping. */
  readonly norm: number;
  readonly rate: number;
  readonly tokensPerSecond: number;
  /** What it took, reading the batch included. */
  readonly seconds: number;
  /** The most that the device has held so far. */
  readonly peakBytes: number;
}

/** A measurement on data that the model does not learn from. */
export interface EvalEvent extends Evaluation {
  readonly event: "eval";
  readonly step: number;
}

/** A checkpoint that was saved. */
export interface CheckpointEvent {
  readonly event: "checkpoint";
  readonly step: number;
  readonly path: string;
  /** Of the lowest loss of all evaluations so far, in the place for these. */
  readonly best?: true;
}

/** A step that was refused: the weights are as before it. */
export interface SkipEvent {
  readonly event: "skip";
  /** Steps that are done. */
  readonly step: number;
  /** The batch that it was to learn from, and what the task says is in it. */
  readonly batch: number;
  readonly ids?: readonly (string | number)[];
  /** The loss or the gradient is NaN or infinite; or only the gradient is, in f16, and a smaller loss scale may help; or the loss is out of
   *  all proportion. */
  readonly reason: "nonFinite" | "overflow" | "spike";
  readonly loss: number;
  readonly norm: number;
  /** `repeat`: the same batch again, with `scale`. `skip`: without this batch. `rewind`: without it, from the last checkpoint. */
  readonly action: "repeat" | "skip" | "rewind";
  /** The loss scale from now on. */
  readonly scale?: number;
  /** Steps that are done after going back. */
  readonly to?: number;
  /** The path of the first tensor that is not finite. */
  readonly path?: string;
  /** All of it in words. */
  readonly message: string;
}

/** Something that does not stop the run but should be known. */
export interface WarningEvent {
  readonly event: "warning";
  readonly step: number;
  readonly message: string;
}

/** Text that the model gave in the middle of its training. */
export interface SampleEvent {
  readonly event: "sample";
  readonly step: number;
  readonly prompt: string;
  readonly text: string;
}

/** How far the kernels are that the device builds with the system's compiler: before the first step, and where a program of another
 *  form runs for the first time. */
export interface BuildEvent {
  readonly event: "build";
  /** What is built, for people. */
  readonly what: string;
  readonly done: number;
  readonly of: number;
}

/** What the loop tells. */
export type TrainEvent = StepEvent | EvalEvent | CheckpointEvent | SkipEvent | WarningEvent | SampleEvent;

/** A reader of events that writes them somewhere: a file, a page, a terminal. It may meet events that it does not know, of this
 *  package's future or of a kit's own, and lets them pass. */
export interface Report {
  /** Returns at once: what takes time goes on behind, so that no step waits for it. */
  event(event: ReportedEvent): void;
  /** Resolves once all that was told is written. */
  close(): Promise<void>;
}

/** An event as a report meets it. */
export type ReportedEvent = { readonly event: string };
