/** Reading a `config.json` field by field. A file may come from anywhere, so each value is checked against its range, and what
 *  was not asked for is refused unless it is known to change no number: a flag that is passed over makes another model. */

import type { FormatError } from "sinan";
import { objectAt, unexpected } from "../tokenizer/json-value.ts";

/** Larger than any model that fits one machine; a file that asks for more is broken or hostile. */
const limits: Readonly<Record<string, number>> = {
  vocab_size: 2 ** 24,
  hidden_size: 2 ** 17,
  intermediate_size: 2 ** 20,
  num_hidden_layers: 2 ** 12,
  num_attention_heads: 2 ** 12,
  num_key_value_heads: 2 ** 12,
  head_dim: 2 ** 12,
  n_embd: 2 ** 17,
  n_inner: 2 ** 20,
  n_layer: 2 ** 12,
  n_head: 2 ** 12,
};
const otherLimit = 2 ** 24;

/** Notes that files carry, none of which changes a logit. */
const notes = new Set([
  "_name_or_path",
  "_attn_implementation",
  "_attn_implementation_autoset",
  "architectures",
  "auto_map",
  "bad_words_ids",
  "cache_implementation",
  "chunk_size_feed_forward",
  "classifier_dropout",
  "dtype",
  "id2label",
  "is_llama_config",
  "label2id",
  "max_length",
  "pad_token_id",
  "problem_type",
  "return_dict",
  "sep_token_id",
  "summary_activation",
  "summary_first_dropout",
  "summary_proj_to_labels",
  "summary_type",
  "summary_use_proj",
  "task_specific_params",
  "temperature",
  "tokenizer_class",
  "top_k",
  "top_p",
  "torch_dtype",
  "transformers.js_config",
  "transformers_version",
  "unk_token_id",
  "use_cache",
]);

/** What leaves a model as it is, whatever the flag is called. */
const isNeutral = (value: unknown): boolean =>
  value === null ||
  value === undefined ||
  value === false ||
  value === 0 ||
  value === "" ||
  (typeof value === "object" && Object.keys(value).length === 0);

export interface Fields {
  readonly what: string;
  /** The value, null where it is absent. */
  raw(name: string): unknown;
  /** A whole number from 1 on. */
  size(name: string, absent?: number): number;
  sizeOrNull(name: string, absent?: number | null): number | null;
  real(name: string, absent: number | undefined, fits: (x: number) => boolean, expected: string): number;
  /** Null is a value of its own, unlike what is absent. */
  realOrNull(name: string, absent: number | null, fits: (x: number) => boolean, expected: string): number | null;
  flag(name: string, absent: boolean): boolean;
  /** One of the keys of a table, as what stands there. */
  choice<T>(name: string, table: Readonly<Record<string, T>>, absent: string): T;
  /** Refuses another value than this. */
  only(name: string, wanted: unknown, hint: string): void;
  /** Layers as `layer_types` and its like list them: their numbers where `holds`. */
  layers(name: string, count: number, holds: (value: unknown, at: string) => boolean): readonly number[] | null;
  unexpected(name: string, expected: string, value: unknown, hint?: string): FormatError;
  /** Refuses what was not read.
   *  @throws FormatError */
  done(): void;
}

/** @throws FormatError, as all of its functions do, naming the field, what was expected and what came */
export function fieldsOf(json: unknown, what: string): Fields {
  const root = objectAt(json, what);
  const seen = new Set<string>(["model_type"]);
  const raw = (name: string): unknown => {
    seen.add(name);
    return (Object.hasOwn(root, name) ? root[name] : null) ?? null;
  };
  const given = (name: string): unknown => raw(name) ?? undefined;
  const refuse = (name: string, expected: string, value: unknown, hint?: string): FormatError =>
    unexpected(`${what}: ${name}`, expected, value, hint);
  const size = (name: string, absent?: number): number => {
    const value = given(name) ?? absent;
    const most = limits[name] ?? otherLimit;
    if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= most) return value;
    throw refuse(name, `a whole number from 1 to ${most}`, value);
  };
  const real: Fields["real"] = (name, absent, fits, expected) => {
    const value = given(name) ?? absent;
    if (typeof value === "number" && fits(value)) return value === 0 ? 0 : value; // −0 would not come back
    throw refuse(name, expected, value);
  };
  return {
    what,
    raw,
    size,
    sizeOrNull: (name, absent = null) => {
      // Null is a value of its own here, unlike what is absent.
      if (Object.hasOwn(root, name)) return raw(name) === null ? null : size(name);
      seen.add(name);
      return absent;
    },
    real,
    realOrNull(name, absent, fits, expected) {
      const isNull = Object.hasOwn(root, name) ? root[name] === null : absent === null;
      seen.add(name);
      return isNull ? null : real(name, absent ?? undefined, fits, expected);
    },
    flag(name, absent) {
      const value = given(name) ?? absent;
      if (typeof value === "boolean") return value;
      throw refuse(name, "true or false", value);
    },
    choice<T>(name: string, table: Readonly<Record<string, T>>, absent: string): T {
      const value = given(name) ?? absent;
      if (typeof value === "string" && Object.hasOwn(table, value)) return table[value] as T;
      throw refuse(
        name,
        Object.keys(table)
          .map((k) => JSON.stringify(k))
          .join(" or "),
        value,
      );
    },
    only(name, wanted, hint) {
      const value = given(name);
      if (value !== undefined && value !== wanted) throw refuse(name, JSON.stringify(wanted), value, hint);
    },
    layers(name, count, holds) {
      const value = raw(name);
      if (value === null) return null;
      if (!Array.isArray(value) || value.length !== count)
        throw refuse(name, `a list of ${count}, one for each layer`, value);
      return value.flatMap((v, i) => (holds(v, `${name}.${i}`) ? [i] : []));
    },
    unexpected: refuse,
    done() {
      for (const [name, value] of Object.entries(root))
        if (!seen.has(name) && !notes.has(name) && !isNeutral(value))
          throw refuse(name, "no such field in a model of this type", value, "If it changes nothing, take it out.");
    },
  };
}
