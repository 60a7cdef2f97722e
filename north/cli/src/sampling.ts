/** The flags of sampling as the options of `@sinan/llm`. */
import type { samplingFlags } from "./common-flags.ts";
import type { Values } from "./flags.ts";

export function samplingOf(values: Values<typeof samplingFlags>) {
  const { seed = 0, temperature = 0.8, stop = [] } = values;
  return {
    seed,
    temperature,
    topK: values["top-k"] ?? 0,
    topP: values["top-p"] ?? 1,
    minP: values["min-p"] ?? 0,
    repetitionPenalty: values["repetition-penalty"] ?? 1,
    stop,
  };
}
