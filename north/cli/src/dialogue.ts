/** How what is said in `sinan chat` becomes what the model reads: by the chat template that comes with it, or by `--turn`. */
import {
  type ChatMessage,
  type ChatTemplate,
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
}

/** Messages go into a text, `{}` of the turn being the message. */
export function plainDialogue({ model, tokenizer, system }: Speakers, turn: string): Dialogue {
  const talk = new Conversation(model, tokenizer, { overflow: "slide" });
  let begin = system === undefined ? "" : `${system}\n`;
  return {
    say(message, options) {
      const text = begin + turn.replaceAll("{}", () => message);
      begin = "";
      return talk.say(text, options);
    },
    dispose: () => talk.dispose(),
  };
}

/** The whole conversation is written anew by the template at each turn; the cache holds what has not changed. */
export function templateDialogue({ model, tokenizer, system }: Speakers, template: ChatTemplate): Dialogue {
  const talk = new Conversation(model, tokenizer, { overflow: "slide" });
  const instructions: readonly ChatMessage[] = system === undefined ? [] : [{ role: "system", content: system }];
  let said: ChatMessage[] = [];
  const eos = template.eosToken === null ? undefined : tokenizer.tokenToId(template.eosToken);
  const stopIds = [...model.config.eosTokenIds, ...(eos === undefined ? [] : [eos])];
  const written = (): Int32Array =>
    tokenizer.encode(template.render([...instructions, ...said], { addGenerationPrompt: true }));
  /** The oldest exchanges go, whole, when less than a quarter of the positions is left for the reply. */
  const fitted = (): Int32Array => {
    let ids = written();
    while (said.length > 2 && ids.length > 0.75 * model.config.maxPositionEmbeddings) {
      said = said.slice(2);
      ids = written();
    }
    return ids;
  };
  return {
    async *say(content, options) {
      const before = said;
      said = [...said, { role: "user", content }];
      try {
        const reply = talk.continue(fitted(), { stopIds, ...options });
        let text = "";
        for await (const piece of reply) {
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
