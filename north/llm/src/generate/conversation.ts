/** A text that grows turn by turn: what is said is appended, a reply follows, and the cache of all before is used again. */
import { ArgumentError, DisposedError } from "sinan";
import type { Llama } from "../model/llama.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { decode, type Piece } from "./decode.ts";
import { textReader } from "./generate.ts";
import { checkTokens, ContextError, endingOf, type GenerateOptions, samplingOf } from "./options.ts";
import { Session, type SessionOptions } from "./session.ts";

/** Those of a session of one row. */
export type ConversationOptions = Omit<SessionOptions, "rows">;

/** A model, its tokenizer and the text so far, with a cache that is freed by `dispose` (or `using`).
 *
 *  @example
 *  const talk = new Conversation(model, tokenizer, { overflow: "slide" });
 *  for await (const { text } of talk.say("Who are you?\n", { stop: "\n", temperature: 0.8 })) process.stdout.write(text);
 *  for await (const { text } of talk.say("And why?\n", { stop: "\n", temperature: 0.8 })) process.stdout.write(text);
 *  talk.dispose(); */
export class Conversation {
  readonly tokenizer: Tokenizer;
  readonly #session: Session;
  readonly #slides: boolean;
  /** The last token of a reply, and how many the session had when it was chosen: it is not among those. */
  #last: { readonly id: number; readonly after: number } | null = null;
  #state: "idle" | "busy" | "disposed" = "idle";

  /** @throws ArgumentError */
  constructor(model: Llama, tokenizer: Tokenizer, options: ConversationOptions = {}) {
    this.#session = new Session(model, options);
    this.#slides = options.overflow === "slide";
    this.tokenizer = tokenizer;
  }

  /** The whole text as far as it is remembered: what was said, and the replies with the tokens that ended them. */
  get ids(): readonly number[] {
    const tokens = this.#session.tokens();
    return this.#last?.after === tokens.length ? [...tokens, this.#last.id] : [...tokens];
  }

  /** How many tokens still fit. */
  get room(): number {
    return this.#session.capacity - this.ids.length;
  }

  /** Appends text and continues. The signal ends the reply; the conversation may go on.
   *  @throws like `continue` */
  say(text: string, options: GenerateOptions = {}): AsyncGenerator<Piece, void, undefined> {
    const before = this.ids;
    const added = this.tokenizer.encode(text, { addSpecialTokens: before.length === 0 });
    return this.continue([...before, ...added], options);
  }

  /** Continues a whole text, as a chat template renders it. As much of its beginning as the cache holds is not computed again.
   *
   *  @param ids      at least one
   *  @param options  like those of `generate`, but that `maxTokens` is by default what there is room for
   *  @throws ArgumentError at once for ids or options outside their range, or while another reply comes; ContextError for a text that does
   *    not fit; DisposedError */
  continue(ids: ArrayLike<number>, options: GenerateOptions = {}): AsyncGenerator<Piece, void, undefined> {
    const session = this.#session;
    const { config } = session.model;
    const all = Array.from(ids);
    if (this.#state === "disposed") throw new DisposedError("a conversation was used after dispose");
    if (this.#state === "busy")
      throw new ArgumentError("a conversation: a reply is still coming", { hint: "end its loop, or abort it" });
    checkTokens(all, config.vocabSize);
    samplingOf(options, 1, config.vocabSize);
    const room = session.capacity - all.length;
    const { maxTokens = Math.max(1, this.#slides ? session.capacity : room) } = options;
    const asked = { stopIds: config.eosTokenIds, ...options, maxTokens };
    const { stop } = endingOf(asked);
    if (!this.#slides && maxTokens > room)
      throw new ContextError(
        `a conversation: ${all.length} tokens and ${maxTokens} new ones do not fit its ${session.capacity} positions`,
        { hint: 'begin another one, or open it with overflow: "slide"' },
      );
    return this.#reply(all, textReader(this.tokenizer, stop), asked);
  }

  async *#reply(
    all: readonly number[],
    reader: ReturnType<typeof textReader>,
    options: GenerateOptions,
  ): AsyncGenerator<Piece, void, undefined> {
    if (this.#state !== "idle") throw new ArgumentError("a conversation: it was disposed, or another reply is coming");
    const session = this.#session;
    this.#state = "busy";
    this.#last = null;
    // The last token is fed whatever the cache holds: what follows it has to be chosen.
    session.rewind(Math.min(commonLength(session.tokens(), all), all.length - 1));
    try {
      for await (const piece of decode(session, [all.slice(session.length)], [reader], options)) {
        if (piece.id !== null) this.#last = { id: piece.id, after: session.length };
        yield piece;
      }
    } finally {
      if (this.#state === "busy") this.#state = "idle";
    }
  }

  /** Frees the cache. */
  dispose(): void {
    this.#state = "disposed";
    this.#session.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  const differs = a.findIndex((id, i) => id !== b[i]);
  return differs < 0 ? Math.min(a.length, b.length) : differs;
}
