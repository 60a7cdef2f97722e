/** Generation. */

export { Conversation, type ConversationOptions } from "./conversation.ts";
export type { Finish, Piece } from "./decode.ts";
export { generate, generateStream, generateText } from "./generate.ts";
export { ContextError, type GenerateOptions, type Overflow, type Sampling } from "./options.ts";
export { type Choice, Session, type SessionOptions, type TokenLogprob } from "./session.ts";
