/** The ten-line way to train a language model on a text: tokenizer, split, batches, optimizer, evaluation, checkpoints, resume
 *  and progress, each with a default. `@sinan/train` has the loop for those who want another. */
import {
  ArgumentError,
  type Checkpoint,
  data as batches,
  device,
  type Files,
  type Json,
  key,
  openCheckpoints,
  optim,
  random,
  tensor,
  type Tensor,
} from "sinan";
import {
  checkFacts,
  type Facts,
  type Out,
  progress,
  readRecord,
  type Task,
  train,
  type TrainEvent,
} from "@sinan/train";
import type { Baselines } from "./baselines/baselines.ts";
import { llamaConfigToJson, parameterCount } from "./config.ts";
import { type GenerateOptions, generateText } from "./generate/generate.ts";
import { type Llama, llama, loss } from "./model/llama.ts";
import { tokenizerFromJson } from "./tokenizer/read-json.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import { baselinesOf, type Corpus, corpusOf, heldOutLoss, readText } from "./trainer-corpus.ts";
import {
  changed,
  checkOptions,
  record,
  type RunOptions,
  type RunSettings,
  settle,
  type TextSource,
} from "./trainer-options.ts";
import { checkpointIn, freeDirectory, newestDirectory, runName } from "./trainer-runs.ts";

export interface TrainerOptions extends RunOptions {
  /** Opened before the first step; default: the default device. */
  readonly device?: string;
  /** Where files are. Default: the file system of Node. */
  readonly files?: Files;
}

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

export type TrainerEvent = StartEvent | TrainEvent | DoneEvent;

export interface TrainResult {
  /** Null if the run was stopped before its end. */
  readonly done: DoneEvent | null;
  /** Steps that are done. */
  readonly step: number;
  readonly stopped: boolean;
  readonly directory: string | null;
  readonly checkpoint: string | null;
  /** The end of the text, which was not learned from: where a prompt may come from. */
  readonly heldOutIds: Int32Array;
}

/** Trains a LLaMA on a text and generates from it.
 *
 *  @example
 *  const trainer = new Trainer({ model: "llama-tiny", data: "moby-dick.txt", seqLen: 128, batchSize: 8 });
 *  await trainer.train({ steps: 300 });
 *  console.log(await trainer.generate("Call me Ishmael", { maxTokens: 80 })); */
export class Trainer {
  readonly #options: TrainerOptions;
  #model: Llama | null = null;
  #tokenizer: Tokenizer | null = null;
  #busy = false;

  /** @throws ArgumentError for an option outside its range */
  constructor(options: TrainerOptions = {}) {
    checkOptions(options);
    this.#options = options;
  }

  /** @throws ArgumentError before a model was trained */
  get model(): Llama {
    if (this.#model) return this.#model;
    throw new ArgumentError("Trainer: there is no model yet", { hint: "await trainer.train({ steps: 300 }) first" });
  }

  /** @throws ArgumentError before a model was trained */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer) return this.#tokenizer;
    throw new ArgumentError("Trainer: there is no tokenizer yet", {
      hint: "await trainer.train({ steps: 300 }) first",
    });
  }

  /** Trains, from the beginning or from where this Trainer or the resumed run stands.
   *
   *  @throws ArgumentError for options or a text that cannot be trained on; FileError; CheckpointError if `out` holds another run;
   *    NonFiniteError if the loss became NaN or infinite, after saving the state before */
  async train(call: TrainCall = {}): Promise<TrainResult> {
    if (this.#busy)
      throw new ArgumentError("Trainer: train was called while another call of it runs", { hint: "await the first" });
    this.#busy = true;
    const { onWarning = console.warn } = call;
    let stopping: { readonly signal: AbortSignal; release(): void; exit(): void } | null = null;
    try {
      const files = this.#files;
      if (this.#options.device !== undefined) await device(this.#options.device);
      const run = await this.#prepare(call, onWarning);
      stopping = call.signal
        ? null
        : await interrupts(() => onWarning("stopping after this step; Ctrl-C again to end at once"));
      const checkpoints =
        run.directory === null ? undefined : await openCheckpoints(await files(), run.directory, { onWarning });
      try {
        const result = await this.#run(run, call, onWarning, call.signal ?? stopping?.signal, checkpoints);
        if (stopping && result.stopped) {
          onWarning(
            `stopped after step ${result.step}; continue with train({ resume: true${result.directory === null ? "" : `, out: ${JSON.stringify(result.directory)}`} })`,
          );
          await checkpoints?.close();
          stopping.exit();
        }
        return result;
      } finally {
        await checkpoints?.close();
      }
    } finally {
      stopping?.release();
      this.#busy = false;
    }
  }

  /** The text after a prompt, at temperature 0.8 unless asked otherwise.
   *  @throws ArgumentError before a model was trained, for an empty prompt, and for more tokens than the model has positions */
  async generate(prompt: string, options: GenerateOptions = {}): Promise<string> {
    let text = "";
    for await (const piece of generateText(this.model, this.tokenizer, prompt, { temperature: 0.8, ...options }))
      text += piece;
    return text;
  }

  readonly #files = async (): Promise<Files> => this.#options.files ?? (await import("@sinan/train/node")).nodeFiles();

  /** Everything that can be wrong with a call is found here, before anything is written. */
  async #prepare(call: TrainCall, onWarning: (message: string) => void): Promise<Run> {
    const { files: _, device: __, data: ownData, ...own } = this.#options;
    const { resume = false, out } = call;
    const name = typeof own.model === "object" ? "llama" : (own.model ?? "llama-tiny");
    const data = call.data ?? ownData;
    let checkpoint: Checkpoint | null = null;
    let directory = out ?? null;
    if (resume && out === null) throw new ArgumentError("Trainer: resume needs a directory, and out is null");
    if (out === undefined) {
      const stem = runName(call.name ?? (typeof data === "string" ? data : "text"), name);
      directory = resume
        ? await newestDirectory(await this.#files(), stem)
        : await freeDirectory(await this.#files(), stem);
    }
    if (directory !== null) checkpoint = await checkpointIn(await this.#files(), directory, resume, onWarning);
    const trainer = checkpoint ? readRecord(checkpoint) : null;
    const recorded = asRecord(trainer?.options);
    const settings = settle({ ...own, steps: call.steps }, recorded);
    checkEvery(call);

    const source = data ?? recorded["data"];
    if (
      typeof source !== "string" &&
      !(typeof source === "object" && source !== null && "text" in source && typeof source.text === "string")
    ) {
      throw new ArgumentError("Trainer: data: expected the path of a text or { text }, got nothing", {
        hint: 'new Trainer({ data: "moby-dick.txt" })',
      });
    }
    const text = await readText(source as TextSource, this.#files);
    const kept = checkpoint?.blobs["tokenizer.json"];
    // A checkpoint of another text is refused by its fingerprint in the loop; its tokenizer does for getting there.
    const tokenizer = typeof kept === "string" ? tokenizerFromJson(kept) : (this.#tokenizer ?? undefined);
    const corpus = corpusOf(text, { ...settings, tokenizer });
    const differ = changed(settings, recorded);
    if (differ.length > 0)
      onWarning(
        `${differ.join(", ")}: not as in the checkpoint, so the losses will not be those of an uninterrupted run`,
      );
    return {
      settings,
      corpus,
      checkpoint,
      directory,
      from: trainer?.step ?? 0,
      dataHash: text.hash,
      dataPath: typeof source === "string" ? source : null,
    };
  }

  async #run(
    { settings, corpus, checkpoint, directory, from, dataHash, dataPath }: Run,
    call: TrainCall,
    onWarning: (message: string) => void,
    signal: AbortSignal | undefined,
    checkpoints: Awaited<ReturnType<typeof openCheckpoints>> | undefined,
  ): Promise<TrainResult> {
    const { seqLen, batchSize, seed, steps } = settings;
    const { tokenizer } = corpus;
    const own = this.#model;
    const config = own && !checkpoint ? own.config : { ...settings.model, vocabSize: tokenizer.vocabSize };
    // The keys of the steps are the folds of 0, 1, 2 …
    const model = own && !checkpoint ? own : llama(config).init(random.fold(key(seed), 2 ** 32 - 1));
    const stream = batches.tokenBatches(corpus.trainIds, { batch: batchSize, sequence: seqLen, seed });
    const rate = optim.warmupCosine({ peak: settings.learningRate, warmupSteps: settings.warmupSteps, steps });
    const shape = [batchSize, seqLen];
    const task: Task<Llama, optim.AdamWState<Llama>, { readonly inputs: Tensor; readonly targets: Tensor }> = {
      model,
      // The second mean is shorter than usual, as in Vaswani et al. 2017, §5.3: runs are short.
      optimizer: optim.adamW({ betas: [0.9, 0.98], weightDecay: settings.weightDecay }),
      loss: (m, { inputs, targets }, context) => loss(m, inputs, targets, context),
      batch(step) {
        const { inputs, targets } = stream.at(step);
        return { inputs: tensor(inputs, { shape }), targets: tensor(targets, { shape }) };
      },
      rate: (step) => rate(step + 1),
      tokensPerStep: batchSize * seqLen,
      evaluate: heldOutLoss(corpus, seqLen, batchSize),
    };
    const parameters = parameterCount(config);
    const facts: Facts = {
      data: dataHash,
      "held-out share": settings.heldOut,
      model: llamaConfigToJson(config) as Json,
      "batch shape": [batchSize, seqLen],
    };
    // The loop refuses it too; here it comes before anything is said.
    if (checkpoint) checkFacts(checkpoint.path, readRecord(checkpoint).facts, { ...facts, seed, steps });
    const show = call.progress === null ? null : (call.progress ?? standardError());
    const bar = show && progress(show, { steps });
    const tell = (event: TrainerEvent): void => {
      call.onEvent?.(event);
      if (event.event !== "start" && event.event !== "done") bar?.(event);
    };
    tell({
      event: "start",
      parameters,
      trainTokens: corpus.trainIds.length,
      heldOutTokens: corpus.heldOutIds.length,
      steps,
      from,
      tokensPerStep: task.tokensPerStep,
      epochs: (steps * task.tokensPerStep) / corpus.trainIds.length,
      directory,
    });
    const baselines = baselinesOf(corpus);
    const going = train(task, {
      steps,
      seed,
      clipNorm: settings.clipNorm,
      evaluateEvery: call.evaluateEvery ?? Math.max(50, Math.ceil(steps / 5)),
      checkpoints,
      checkpointEvery: call.checkpointEvery ?? 100,
      resume: checkpoint ?? undefined,
      signal,
      facts,
      options: { ...record(settings), ...(dataPath === null ? {} : { data: dataPath }) },
      documents: { config: llamaConfigToJson(config) as Json },
      blobs: { "tokenizer.json": JSON.stringify(tokenizer) },
      onWarning,
    });
    try {
      for (;;) {
        const next = await going.next();
        if (!next.done) {
          tell(next.value);
          continue;
        }
        const outcome = next.value;
        this.#model = outcome.model;
        this.#tokenizer = tokenizer;
        const { evaluation, seconds } = outcome;
        const path = outcome.checkpoint ?? null;
        const done: DoneEvent | null = outcome.stopped
          ? null
          : {
              event: "done",
              steps,
              parameters,
              seconds,
              bitsPerByte: evaluation?.bitsPerByte ?? Number.NaN,
              baselines,
              checkpoint: path,
            };
        if (done) tell(done);
        return {
          done,
          step: outcome.step,
          stopped: outcome.stopped,
          directory,
          checkpoint: path,
          heldOutIds: corpus.heldOutIds,
        };
      }
    } finally {
      bar?.end();
    }
  }
}

/** A call that was checked and whose text was read. */
interface Run {
  readonly settings: RunSettings;
  readonly corpus: Corpus;
  readonly checkpoint: Checkpoint | null;
  readonly directory: string | null;
  readonly from: number;
  readonly dataHash: string;
  readonly dataPath: string | null;
}

const asRecord = (value: Json | undefined): Record<string, Json> =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};

function checkEvery({ checkpointEvery, evaluateEvery }: TrainCall): void {
  for (const [name, value] of Object.entries({ checkpointEvery, evaluateEvery })) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1)) {
      throw new ArgumentError(`Trainer: ${name}: expected a whole number of at least 1, got ${value}`);
    }
  }
}

const host = globalThis as {
  readonly process?: {
    readonly stderr?: Out;
    readonly versions?: { readonly node?: string };
    exit?(code: number): never;
  };
};
const standardError = (): Out | null => host.process?.stderr ?? null;

/** Ctrl-C, where there is such a thing. */
async function interrupts(onFirst: () => void): Promise<{ signal: AbortSignal; release(): void; exit(): void } | null> {
  if (host.process?.versions?.node === undefined) return null;
  const { interrupted, onInterrupt } = await import("@sinan/train/node");
  return { ...onInterrupt(onFirst), exit: () => host.process?.exit?.(interrupted) };
}
