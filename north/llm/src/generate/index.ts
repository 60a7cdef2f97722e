/** Generation. */

export { generate, generateText, type GenerateOptions } from "./generate.ts";
export { type Sampling, Session } from "./session.ts";
