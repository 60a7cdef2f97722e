/** The ten-line way to train a language model on a text: tokenizer, split, batches, optimizer, evaluation, checkpoints, resume
 *  and progress, each with a default. `@sinan/train` has the loop for those who want another. */
import { ArgumentError, type Files } from "sinan";
import type { GenerateOptions } from "./generate/options.ts";
import type { Llama } from "./model/llama.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import type { Reports, TrainCall, TrainerCallback, TrainerRun, TrainResult } from "./trainer-events.ts";
import { checkOptions, type RunOptions } from "./trainer-options.ts";
import { newRun, type Owner, textAfter } from "./trainer-run.ts";

/** What a Trainer is made with. */
export interface TrainerOptions extends RunOptions {
  /** Opened before the first step; default: the default device. */
  readonly device?: string;
  /** For each run, beside those of the call. */
  readonly reports?: Reports;
  readonly callbacks?: readonly TrainerCallback[];
  /** Where files are. Default: the file system of Node. */
  readonly files?: Files;
}

/** Trains a LLaMA on a text and generates from it.
 *
 *  @example
 *  const trainer = new Trainer({ model: "llama-tiny", data: "moby-dick.txt", seqLen: 128, batchSize: 8 });
 *  await trainer.train({ steps: 300 });
 *  console.log(await trainer.generate("Call me Ishmael", { maxTokens: 80 })); */
export class Trainer {
  readonly #own: Owner;

  /** @throws ArgumentError for an option outside its range */
  constructor(options: TrainerOptions = {}) {
    checkOptions(options);
    this.#own = owner(options);
  }

  /** @throws ArgumentError before a model was trained */
  get model(): Llama {
    if (this.#own.model) return this.#own.model;
    throw new ArgumentError("Trainer: there is no model yet", { hint: "await trainer.train({ steps: 300 }) first" });
  }

  /** @throws ArgumentError before a model was trained */
  get tokenizer(): Tokenizer {
    if (this.#own.tokenizer) return this.#own.tokenizer;
    throw new ArgumentError("Trainer: there is no tokenizer yet", {
      hint: "await trainer.train({ steps: 300 }) first",
    });
  }

  /** Trains, from the beginning or from where this Trainer or the resumed run stands.
   *
   *  @throws ArgumentError for options or a text that cannot be trained on; FileError; CheckpointError if `out` holds another run;
   *    NonFiniteError if the loss became NaN or infinite, after saving the state before */
  async train(call: TrainCall = {}): Promise<TrainResult> {
    return this.run(call);
  }

  /** The same as a stream of events, which begins when it is read; it can be planned before.
   *
   *  @throws when it is read or awaited, what `train` throws
   *  @example for await (const event of trainer.run({ steps: 300 })) if (event.event === "eval") console.log(event.loss); */
  run(call: TrainCall = {}): TrainerRun {
    return newRun(this.#own, call);
  }

  /** The text after a prompt, at temperature 0.8 unless asked otherwise.
   *  @throws ArgumentError before a model was trained, for an empty prompt, and for more tokens than the model has positions */
  async generate(prompt: string, options: GenerateOptions = {}): Promise<string> {
    return textAfter(this.model, this.tokenizer, prompt, options);
  }
}

function owner({ files, ...options }: TrainerOptions): Owner {
  let busy = false;
  return {
    options,
    storage: {
      files: async () => files ?? (await import("@sinan/train/node")).nodeFiles(),
      isNode: files === undefined,
    },
    model: null,
    tokenizer: null,
    tokensPerSecond: undefined,
    begin() {
      if (busy)
        throw new ArgumentError("Trainer: train was called while another call of it runs", { hint: "await the first" });
      busy = true;
    },
    end() {
      busy = false;
    },
  };
}
