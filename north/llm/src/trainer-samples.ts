/** Text of a model while it learns, for displays and reports. */
import type { GenerateOptions } from "./generate/options.ts";
import type { TrainerCallback } from "./trainer-events.ts";

/** A callback that lets the model go on with a prompt after each so many steps, and tells of it as a `sample` event.
 *
 *  @example new Trainer({ data: "moby-dick.txt", callbacks: [sampleEvery(500, "Call me Ishmael")] }) */
export const sampleEvery =
  (steps: number, prompt: string, options: GenerateOptions = {}): TrainerCallback =>
  async (event, { step, generate }) => {
    if (event.event !== "step" || step % steps !== 0) return undefined;
    return { event: "sample", step, prompt, text: await generate(prompt, { maxTokens: 40, seed: 0, ...options }) };
  };
