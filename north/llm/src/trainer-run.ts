/** One run of a Trainer: its events one after another, told to whoever listens on the way, and its result. */
import { baseName, type Building, type Checkpoints, device, joinPath, type Json, openCheckpoints } from "sinan";
import {
  type Callback,
  checkFacts,
  factsOf,
  htmlReport,
  type Out,
  planRun,
  readRecord,
  type Report,
  reportAll,
  type RunPlan,
  terminalReport,
  train,
  type TrainOptions,
} from "@sinan/train";
import { generateText } from "./generate/generate.ts";
import type { GenerateOptions } from "./generate/options.ts";
import type { Llama } from "./model/llama.ts";
import { parameterCount } from "./model/size.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import { baselinesOf } from "./trainer-corpus.ts";
import type { DoneEvent, StartEvent, TrainCall, TrainerEvent, TrainerRun, TrainResult } from "./trainer-events.ts";
import type { RunOptions } from "./trainer-options.ts";
import { prepared, type Prepared } from "./trainer-prepare.ts";
import type { Storage, Stream } from "./trainer-stream.ts";
import { taskOf } from "./trainer-task.ts";

/** What a run shares with its Trainer. */
export interface Owner {
  readonly options: RunOptions & Pick<TrainCall, "reports" | "callbacks"> & { readonly device?: string };
  readonly storage: Storage;
  model: Llama | null;
  tokenizer: Tokenizer | null;
  /** Tokens a second of the last steps, if there were any. */
  tokensPerSecond: number | undefined;
  /** Takes the Trainer for one run, and gives it back.
   *  @throws ArgumentError if another run has it */
  begin(): void;
  end(): void;
}

interface Ready extends ReturnType<typeof taskOf> {
  readonly prepared: Prepared;
}

/** A run, not begun. */
export function newRun(owner: Owner, call: TrainCall): TrainerRun {
  const stopping = new AbortController();
  let ready: Promise<Ready> | undefined;
  const readyOnce = (): Promise<Ready> => (ready ??= readied(owner, call));
  const going = events(owner, call, readyOnce, stopping.signal);
  let ended: Promise<TrainResult> | undefined;
  const next = async (): Promise<IteratorResult<TrainerEvent, undefined>> => {
    // After its end a generator has nothing more to say; the result is kept.
    if (ended) return ended.then(() => ({ done: true, value: undefined }));
    try {
      const step = await going.next();
      if (!step.done) return step;
      ended = Promise.resolve(step.value);
      return { done: true, value: undefined };
    } catch (error) {
      ended = Promise.reject(error);
      ended.catch(() => undefined);
      throw error;
    }
  };
  const finish = async (): Promise<TrainResult> => {
    while (!(await next()).done);
    return ended as Promise<TrainResult>;
  };
  let finishing: Promise<TrainResult> | undefined;
  return {
    [Symbol.asyncIterator]: () => ({
      next,
      async return() {
        stopping.abort();
        await finish();
        return { done: true, value: undefined };
      },
    }),
    // oxlint-disable-next-line unicorn/no-thenable -- a run is awaited where its events are of no interest
    then: (onResult, onError) => (finishing ??= finish()).then(onResult, onError),
    plan: async (): Promise<RunPlan> => {
      const { task, options } = await readyOnce();
      return planRun(task, { ...options, tokensPerSecond: owner.tokensPerSecond });
    },
    stop: () => stopping.abort(),
  };
}

async function readied(owner: Owner, call: TrainCall): Promise<Ready> {
  const { options, storage, model, tokenizer } = owner;
  if (options.device !== undefined) await device(options.device);
  const run = await prepared(options, call, tokenizer, storage);
  return { prepared: run, ...taskOf(run, call, model) };
}

async function* events(
  owner: Owner,
  call: TrainCall,
  ready: () => Promise<Ready>,
  stopped: AbortSignal,
): AsyncGenerator<TrainerEvent, TrainResult> {
  owner.begin();
  const { onWarning = console.warn } = call;
  let interrupt: Interrupt | null = null;
  let reading: Stream | null = null;
  const listeners = listenersOf(owner, call, onWarning);
  try {
    const { prepared: run, task, options } = await ready();
    const { corpus, checkpoint, directory, from, stream } = run;
    reading = stream;
    const { steps } = run.settings;
    // The loop refuses it too; here it comes before anything is said.
    if (checkpoint) checkFacts(checkpoint.path, readRecord(checkpoint).facts, factsOf(options));
    interrupt = call.signal ? null : await interrupts(onWarning, call.deadlineSeconds);
    const outside = call.signal ?? interrupt?.signal;
    const signal = outside ? AbortSignal.any([outside, stopped]) : stopped;
    const { keep: { last = 2, best: bestCount = run.settings.earlyStop ? 1 : 0 } = {} } = run.settings;
    const open = async (path: string, keep: number): Promise<Checkpoints> =>
      openCheckpoints(await owner.storage.files(), path, { onWarning, keep });
    const checkpoints = directory === null ? undefined : await open(directory, last);
    const best = directory === null || bestCount === 0 ? undefined : await open(joinPath(directory, "best"), bestCount);
    try {
      const parameters = parameterCount(task.model.config);
      const trainTokens = stream?.tokens ?? corpus.trainIds.length;
      const kept = (call.record ?? owner.storage.isNode) ? await recordsOf(directory, owner.storage, options) : [];
      const start: StartEvent = {
        event: "start",
        parameters,
        trainTokens,
        heldOutTokens: corpus.heldOutIds.length,
        steps,
        from,
        tokensPerStep: task.tokensPerStep,
        epochs: (steps * task.tokensPerStep) / trainTokens,
        directory,
      };
      const tell = listeners.begin(start, kept);
      yield tell(start);
      const baselines = baselinesOf(corpus);
      const callbacks = callbacksOf(owner, call, corpus.tokenizer);
      const onBuild = (building: Building): void => void tell({ event: "build", ...building });
      const going = train(task, { ...options, checkpoints, best, callbacks, signal, onBuild });
      let next = await going.next();
      for (; !next.done; next = await going.next()) {
        if (next.value.event === "step") owner.tokensPerSecond = next.value.tokensPerSecond;
        yield tell(next.value);
      }
      const outcome = next.value;
      const { step, stopped, seconds, evaluation } = outcome;
      const path = outcome.checkpoint ?? null;
      owner.model = outcome.model;
      owner.tokenizer = corpus.tokenizer;
      const bitsPerByte = evaluation?.bitsPerByte ?? Number.NaN;
      const done: DoneEvent | null = stopped
        ? null
        : { event: "done", steps, parameters, seconds, bitsPerByte, baselines, checkpoint: path };
      if (done) yield tell(done);
      await listeners.end();
      if (interrupt?.signal.aborted === true && stopped) {
        const where = directory === null ? "" : `, out: ${JSON.stringify(directory)}`;
        onWarning(`stopped after step ${step}; continue with train({ resume: true${where} })`);
        await checkpoints?.close();
        interrupt.exit();
      }
      const { ema, stoppedEarly } = outcome;
      const ends = { done, step, stopped, stoppedEarly, ema, best: outcome.best ?? null };
      return { ...ends, directory, checkpoint: path, heldOutIds: corpus.heldOutIds };
    } finally {
      await checkpoints?.close();
      await best?.close();
    }
  } finally {
    await listeners.end();
    interrupt?.release();
    owner.end();
    await reading?.close();
  }
}

/** The loop's callbacks of those of a Trainer. */
const callbacksOf = (owner: Owner, call: TrainCall, tokenizer: Tokenizer): Callback<Llama>[] =>
  [...(owner.options.callbacks ?? []), ...(call.callbacks ?? [])].map((callback) => (event, view) => {
    const { model } = view;
    return callback(event, {
      ...view,
      tokenizer,
      generate: (prompt, options) => textAfter(model, tokenizer, prompt, options),
    });
  });

/** The text after a prompt, at temperature 0.8 unless asked otherwise. */
export async function textAfter(
  model: Llama,
  tokenizer: Tokenizer,
  prompt: string,
  options: GenerateOptions = {},
): Promise<string> {
  let text = "";
  for await (const piece of generateText(model, tokenizer, prompt, { temperature: 0.8, ...options })) text += piece;
  return text;
}

/** All who want to hear of events. */
function listenersOf(owner: Owner, call: TrainCall, onWarning: (message: string) => void) {
  const { onEvent, progress: out } = call;
  const show = out === null ? null : (out ?? standardError());
  const given = (start: StartEvent | null): Report[] =>
    [owner.options.reports ?? [], call.reports ?? []].flatMap((reports) => {
      if (typeof reports !== "function") return reports;
      return start ? reports(start) : [];
    });
  let all: Report | null = reportAll(given(null), { onWarning });
  return {
    /** @param kept  further reports, that the run keeps of itself */
    begin(start: StartEvent, kept: readonly Report[]): <E extends TrainerEvent>(event: E) => E {
      const report = reportAll([...given(start), ...(show ? [terminalReport(show)] : []), ...kept], { onWarning });
      all = report;
      return (event) => {
        onEvent?.(event);
        report.event(event);
        return event;
      };
    },
    async end(): Promise<void> {
      const report = all;
      all = null;
      await report?.close();
    },
  };
}

const host = globalThis as {
  readonly process?: {
    readonly stderr?: Out;
    readonly versions?: { readonly node?: string };
    exit?(code: number): never;
  };
};
/** What a run keeps of itself in its directory: lines of events, and the page made of them. */
async function recordsOf(
  directory: string | null,
  storage: Storage,
  { options, documents }: Pick<TrainOptions, "options" | "documents">,
): Promise<Report[]> {
  if (directory === null) return [];
  const { jsonlReport } = await import("@sinan/train/node");
  const history = joinPath(directory, "events.jsonl");
  const settings = {
    ...(isRecord(options) ? options : {}),
    ...(documents?.["config"] && { model: documents["config"] }),
  };
  const page = { files: await storage.files(), path: joinPath(directory, "report.html"), name: baseName(directory) };
  return [jsonlReport(history), htmlReport({ ...page, settings, history })];
}

const isRecord = (value: Json | undefined): value is Record<string, Json> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const standardError = (): Out | null => host.process?.stderr ?? null;

interface Interrupt {
  readonly signal: AbortSignal;
  release(): void;
  exit(): void;
}

/** Ctrl-C and SIGTERM, where there are such things. */
async function interrupts(say: (message: string) => void, deadlineSeconds?: number): Promise<Interrupt | null> {
  if (host.process?.versions?.node === undefined) return null;
  const { onInterrupt } = await import("@sinan/train/node");
  const interrupt = onInterrupt(say, deadlineSeconds === undefined ? {} : { deadlineSeconds });
  return { ...interrupt, exit: () => host.process?.exit?.(interrupt.exitCode()) };
}
