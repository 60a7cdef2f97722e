/** How what is said in `sinan chat` becomes what the model reads: by the chat template that comes with it, or by `--turn`. */
import {
  type ChatMessage,
  type ChatTemplate,
  ContextError,
  Conversation,
  type GenerateOptions,
  type Llama,
  type Piece,
  type Tokenizer,
} from "@sinan/llm";

export interface Dialogue {
  /** The reply to a message, as it comes. */
  say(message: string, options: GenerateOptions): AsyncIterable<Piece>;
  /** Frees the cache. */
  dispose(): void;
}

interface Speakers {
  readonly model: Llama;
  readonly tokenizer: Tokenizer;
  /** What the conversation begins with. */
  readonly system: string | undefined;
  /** Tokens that the cache must have room for; it may have more. */
  readonly context: number;
  /** Called when some of so many were forgotten. */
  readonly onForget: (context: number) => void;
}

/** A message has to fit, whatever is forgotten before it. */
function checkMessage(tokens: number, context: number): void {
  if (tokens >= context)
    throw new ContextError(`the message: its ${tokens} tokens and a reply do not fit the ${context} of the context`, {
      hint: "give a shorter one, or a larger --context",
    });
}

/** Pieces as they come; tells when room appears where some was taken. */
async function* heeding(
  pieces: AsyncIterable<Piece>,
  talk: Conversation,
  forgetting: () => void,
): AsyncGenerator<Piece, void, undefined> {
  let room = Number.POSITIVE_INFINITY;
  for await (const piece of pieces) {
    if (talk.room > room) forgetting();
    ({ room } = talk);
    yield piece;
  }
}

/** Messages go into a text, `{}` of the turn being the message. */
export function plainDialogue({ model, tokenizer, system, context, onForget }: Speakers, turn: string): Dialogue {
  const talk = new Conversation(model, tokenizer, { overflow: "slide", capacity: context });
  const { room: capacity } = talk;
  const forgetting = (): void => onForget(capacity);
  let begin = system === undefined ? "" : `${system}\n`;
  return {
    say(message, options) {
      const text = begin + turn.replaceAll("{}", () => message);
      const { length } = tokenizer.encode(text);
      checkMessage(length, capacity);
      begin = "";
      if (length >= talk.room) forgetting();
      return heeding(talk.say(text, options), talk, forgetting);
    },
    dispose: () => talk.dispose(),
  };
}

/** The whole conversation is written anew by the template at each turn; the cache holds what has not changed. */
export function templateDialogue(
  { model, tokenizer, system, context, onForget }: Speakers,
  template: ChatTemplate,
): Dialogue {
  const talk = new Conversation(model, tokenizer, { overflow: "slide", capacity: context });
  const { room: capacity } = talk;
  const forgetting = (): void => onForget(capacity);
  const instructions: readonly ChatMessage[] = system === undefined ? [] : [{ role: "system", content: system }];
  let said: ChatMessage[] = [];
  const eos = template.eosToken === null ? undefined : tokenizer.tokenToId(template.eosToken);
  const stopIds = [...model.config.eosTokenIds, ...(eos === undefined ? [] : [eos])];
  const written = (): Int32Array =>
    tokenizer.encode(template.render([...instructions, ...said], { addGenerationPrompt: true }));
  /** The oldest exchanges go, whole, when less than a quarter of the context is left for the reply. */
  const fitted = (): Int32Array => {
    let ids = written();
    const { length } = said;
    while (said.length > 2 && ids.length > 0.75 * capacity) {
      said = said.slice(2);
      ids = written();
    }
    checkMessage(ids.length, capacity);
    if (said.length < length) forgetting();
    return ids;
  };
  return {
    async *say(content, options) {
      const before = said;
      said = [...said, { role: "user", content }];
      try {
        const reply = talk.continue(fitted(), { stopIds, ...options });
        let text = "";
        for await (const piece of heeding(reply, talk, forgetting)) {
          text += piece.text;
          yield piece;
        }
        said.push({ role: "assistant", content: text });
      } catch (error) {
        said = before;
        throw error;
      }
    },
    dispose: () => talk.dispose(),
  };
}
