/** `config.json` of every family of models. What is read is written and read again; its parameters are counted. */
import assert from "node:assert/strict";
import { llamaConfig, llamaConfigFromJson, llamaConfigToJson, llamaPresets, parameterCount } from "@sinan/llm";
import { parseJson } from "sinan";
import type { Format } from "./format.ts";
import { damagedBytes, damagedJson } from "./mutate.ts";

const seeds = Object.keys(llamaPresets).map((name) => llamaConfigToJson(llamaConfig(name)));

export const format: Format = {
  input(random) {
    const seed = random.pick(seeds);
    if (random.once(10)) return damagedBytes(new TextEncoder().encode(JSON.stringify(seed)), random);
    return new TextEncoder().encode(damagedJson(seed, random));
  },
  read(bytes) {
    const config = llamaConfigFromJson(parseJson(new TextDecoder().decode(bytes), "config.json"));
    assert.ok(Number.isSafeInteger(parameterCount(config)), "a number of parameters");
    assert.deepEqual(llamaConfigFromJson(llamaConfigToJson(config)), config, "written and read again");
  },
};
