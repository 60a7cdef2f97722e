/** The loop of generation: a step for all rows that are not done, a record for each of their tokens, until each has ended. */
import { ArgumentError, hostTurn } from "sinan";
import type { Llama } from "../model/llama.ts";
import { checkTokens, ContextError, type Ending, endingOf, type GenerateOptions, samplingOf } from "./options.ts";
import { type Choice, Session } from "./session.ts";

/** Why a text ended: a stop id or a stop string; `maxTokens`, or a cache that is full; the signal. */
export type Finish = "stop" | "length" | "aborted";

/** A token of a text that is being made. */
export interface Piece extends Omit<Choice, "token"> {
  /** Which prompt it continues. */
  readonly row: number;
  /** The token; null in the last record of a text that was aborted. */
  readonly id: number | null;
  /** Text that is certain now: whole characters, and no part of a stop string. It may lag behind the tokens. */
  readonly text: string;
  /** Null while the text goes on. */
  readonly finish: Finish | null;
}

/** Makes text of a row's tokens. */
export interface Reader {
  push(id: number): { readonly text: string; readonly isStopped: boolean };
  /** What is left when no more tokens come. */
  end(): string;
}

/** A reader for those who want ids alone. */
export const noText: Reader = { push: () => ({ text: "", isStopped: false }), end: () => "" };

/** Everything that can be wrong with a request is said here, before anything runs.
 *  @throws ArgumentError, ContextError */
export function checkRequest(model: Llama, prompts: readonly (readonly number[])[], options: GenerateOptions): void {
  const { maxPositionEmbeddings: most, vocabSize } = model.config;
  if (prompts.length === 0) throw new ArgumentError("generation: expected at least one prompt, got none");
  for (const prompt of prompts) checkTokens(prompt, vocabSize);
  samplingOf(options, prompts.length, vocabSize);
  const { maxTokens } = endingOf(options);
  if (options.overflow === "slide") return;
  const longest = Math.max(...prompts.map((prompt) => prompt.length));
  if (longest + maxTokens > most)
    throw new ContextError(
      `generate: a prompt of ${longest} tokens and ${maxTokens} new ones are more than the model's ${most} positions`,
      {
        hint:
          longest < most
            ? `ask for at most ${most - longest} tokens, shorten the prompt, or give overflow: "slide"`
            : 'shorten the prompt, or give overflow: "slide"',
      },
    );
}

/** Continues prompts in a session of their own, which is freed when the loop is left, and at once when the signal is aborted. */
export async function* decodeAlone(
  model: Llama,
  prompts: readonly (readonly number[])[],
  readers: readonly Reader[],
  options: GenerateOptions,
): AsyncGenerator<Piece, void, undefined> {
  const { maxTokens } = endingOf(options);
  const { maxPositionEmbeddings: most } = model.config;
  const capacity = Math.min(most, Math.max(...prompts.map((prompt) => prompt.length)) + maxTokens);
  const { signal, overflow } = options;
  if (signal?.aborted) return yield* prompts.map((_, row) => aborted(row, ""));
  const session = new Session(model, { capacity, rows: prompts.length, ...(overflow && { overflow }) });
  const free = (): void => session.dispose();
  signal?.addEventListener("abort", free, { once: true });
  try {
    yield* decode(session, prompts, readers, { stopIds: model.config.eosTokenIds, ...options });
  } finally {
    signal?.removeEventListener("abort", free);
    session.dispose();
  }
}

const aborted = (row: number, text: string): Piece => ({ row, id: null, text, finish: "aborted" });

/** After so long the host has its turn. */
const turnMs = 20;

/** Continues the rows of a session by what they are fed. An aborted one ends at once, whatever step is under way. */
export async function* decode(
  session: Session,
  feeds: readonly (readonly number[])[],
  readers: readonly Reader[],
  options: GenerateOptions,
): AsyncGenerator<Piece, void, undefined> {
  const ending = endingOf(options);
  const { signal, ...sampling } = options;
  const stop = abortion(signal);
  let fed = [...feeds];
  let turned = performance.now();
  try {
    for (let made = 1; fed.some(({ length }) => length > 0); made++) {
      const going = fed.map(({ length }) => length > 0);
      // A device that computes on this thread never waits, so that nobody would hear of Ctrl-C, or of a click on "stop".
      if (performance.now() - turned > turnMs) {
        await hostTurn();
        turned = performance.now();
      }
      const choices = signal?.aborted ? null : await stop.or(session.step(fed, sampling));
      if (!choices) return yield* readers.flatMap((reader, row) => (going[row] ? aborted(row, reader.end()) : []));
      const pieces = choices.flatMap((choice, row) =>
        choice ? pieceOf(row, choice, readers[row] ?? noText, ending, made === ending.maxTokens) : [],
      );
      fed = fed.map(() => []);
      for (const { row, id, finish } of pieces) if (id !== null && finish === null) fed[row] = [id];
      yield* pieces;
    }
  } finally {
    stop.release();
  }
}

function pieceOf(
  row: number,
  { token: id, ...likely }: Choice,
  reader: Reader,
  { stopIds }: Ending,
  isLast: boolean,
): Piece {
  if (stopIds.has(id)) return { row, id, ...likely, text: reader.end(), finish: "stop" };
  const { text, isStopped } = reader.push(id);
  if (isStopped) return { row, id, ...likely, text, finish: "stop" };
  if (isLast) return { row, id, ...likely, text: text + reader.end(), finish: "length" };
  return { row, id, ...likely, text, finish: null };
}

/** A promise, or null as soon as the signal is aborted. */
function abortion(signal: AbortSignal | undefined): {
  or<T>(promise: Promise<T>): Promise<T | null>;
  release(): void;
} {
  if (!signal) return { or: (promise) => promise, release: () => undefined };
  const { promise: told, resolve } = Promise.withResolvers<null>();
  const tell = (): void => resolve(null);
  signal.addEventListener("abort", tell, { once: true });
  return {
    or(promise) {
      // What a step that nobody waits for has to say interests nobody.
      promise.catch(() => undefined);
      return Promise.race([promise, told]);
    },
    release: () => signal.removeEventListener("abort", tell),
  };
}
