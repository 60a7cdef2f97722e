/** Rotary embeddings as `config.json` describes them: at the top level (transformers 4) or in `rope_parameters` (5), plain or
 *  with their frequencies stretched for longer texts than the model began with. */

import { objectAt } from "../tokenizer/json-value.ts";
import type { Fields } from "./fields.ts";
import { fieldsOf } from "./fields.ts";

/** How the rotary frequencies are changed. Factors are at least 1. */
export type RopeScaling =
  /** All divided by the factor (Chen et al. 2023, arXiv:2306.15595). */
  | { readonly kind: "linear"; readonly factor: number }
  /** A larger base for a sequence that is longer than the model's positions; up to those nothing changes. */
  | { readonly kind: "dynamic"; readonly factor: number }
  /** Low ones divided by the factor, high ones kept, a ramp between (Llama 3.1). */
  | {
      readonly kind: "llama3";
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalPositions: number;
    }
  /** The same by dimension, and cos and sin multiplied with `attentionFactor` (Peng et al. 2023, arXiv:2309.00071). */
  | {
      readonly kind: "yarn";
      readonly factor: number;
      readonly originalPositions: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly attentionFactor: number;
      /** Whether the ramp's ends are whole dimensions. */
      readonly truncate: boolean;
    };

/** Rotary positions: their base and scaling. */
export interface Rope {
  readonly ropeTheta: number;
  /** The share of a head's elements that turn. */
  readonly rotaryShare: number;
  readonly ropeScaling: RopeScaling | null;
}

const factors = [(x: number) => x >= 1 && x <= 1e6, "a number from 1 to 1e6"] as const;
const positive = [(x: number) => x > 0 && x <= 1e6, "a number above 0, at most 1e6"] as const;

/** @param share  the share that turns where the file does not say, or null where the family turns all of a head */
export function readRope(f: Fields, positions: number, share: number | null): Rope {
  const found = ["rope_scaling", "rope_parameters"].map((name) => [name, f.raw(name)] as const);
  const [name, value] = found.find(([, v]) => v !== null) ?? ["rope_parameters", {}];
  const inner = fieldsOf(objectAt(value, `${f.what}: ${name}`), `${f.what}: ${name}`);
  const either = (field: string, absent: number, fits: (x: number) => boolean, expected: string): number =>
    inner.raw(field) === null ? f.real(field, absent, fits, expected) : inner.real(field, absent, fits, expected);
  const ropeTheta = either("rope_theta", 10_000, (x) => x > 1 && x <= 1e12, "a number above 1, at most 1e12");
  f.raw("rope_theta");
  const rotaryShare = either(
    "partial_rotary_factor",
    share ?? 1,
    (x) => x > 0 && x <= 1,
    "a number above 0, at most 1",
  );
  f.raw("partial_rotary_factor");
  if (share === null && rotaryShare !== 1)
    throw inner.unexpected("partial_rotary_factor", "1", rotaryShare, "Models of this type turn whole heads.");
  const ropeScaling = scalingOf(inner, f, positions);
  inner.done();
  return { ropeTheta, rotaryShare, ropeScaling };
}

function scalingOf(inner: Fields, f: Fields, positions: number): RopeScaling | null {
  const named = inner.raw("rope_type") === null && inner.raw("type") !== null ? "type" : "rope_type";
  const kinds = { default: "default", linear: "linear", dynamic: "dynamic", llama3: "llama3", yarn: "yarn" } as const;
  const kind = inner.choice<keyof typeof kinds>(named, kinds, "default");
  if (kind === "default") {
    inner.raw("factor");
    return null;
  }
  const original = (): number =>
    f.raw("original_max_position_embeddings") === null
      ? inner.size("original_max_position_embeddings", positions)
      : f.size("original_max_position_embeddings");
  const originalPositions = original();
  inner.raw("original_max_position_embeddings");
  const factor = inner.real("factor", kind === "yarn" ? positions / originalPositions : undefined, ...factors);
  if (kind === "linear" || kind === "dynamic") return { kind, factor };
  if (kind === "llama3") {
    const lowFrequencyFactor = inner.real("low_freq_factor", undefined, ...positive);
    const highFrequencyFactor = inner.real(
      "high_freq_factor",
      undefined,
      (x) => x > lowFrequencyFactor && x <= 1e6,
      "a number above low_freq_factor",
    );
    return { kind, factor, lowFrequencyFactor, highFrequencyFactor, originalPositions };
  }
  const scale = (by: number): number => 0.1 * by * Math.log(factor) + 1;
  const [m, all] = ["mscale", "mscale_all_dim"].map((name) =>
    inner.real(name, 0, (x) => x >= 0 && x <= 100, "a number from 0 to 100"),
  ) as [number, number];
  const betaSlow = inner.real("beta_slow", 1, ...positive);
  return {
    kind,
    factor,
    originalPositions,
    betaFast: inner.real("beta_fast", 32, ...positive),
    betaSlow,
    attentionFactor: inner.real("attention_factor", m > 0 && all > 0 ? scale(m) / scale(all) : scale(1), ...positive),
    truncate: inner.flag("truncate", true),
  };
}

/** The fields that `transformers` 4 and 5 read. */
export function writeRope({ ropeTheta, rotaryShare, ropeScaling: s }: Rope, partial: boolean): Record<string, unknown> {
  const share = partial ? { partial_rotary_factor: rotaryShare } : {};
  const base = { rope_theta: ropeTheta, ...share };
  if (s === null) return { ...base, rope_scaling: null };
  const common = { rope_type: s.kind, factor: s.factor, ...base };
  if (s.kind === "linear" || s.kind === "dynamic") return { ...base, rope_scaling: common };
  const long = { ...common, original_max_position_embeddings: s.originalPositions };
  return {
    ...base,
    rope_scaling:
      s.kind === "llama3"
        ? { ...long, low_freq_factor: s.lowFrequencyFactor, high_freq_factor: s.highFrequencyFactor }
        : {
            ...long,
            beta_fast: s.betaFast,
            beta_slow: s.betaSlow,
            attention_factor: s.attentionFactor,
            truncate: s.truncate,
          },
  };
}

/** Radians per position for each pair that turns, and what cos and sin are multiplied with.
 *
 *  @param size    elements of a head that turn, even
 *  @param length  of the sequence, which "dynamic" depends on
 *  @see the formulas of `transformers`' `modeling_rope_utils.py` */
export function ropeFrequencies(
  { ropeTheta, ropeScaling: s }: Omit<Rope, "rotaryShare">,
  size: number,
  length: number,
  positions: number,
): { readonly frequencies: readonly number[]; readonly factor: number } {
  const of = (theta: number): number[] => Array.from({ length: size / 2 }, (_, i) => theta ** ((-2 * i) / size));
  const plain = of(ropeTheta);
  switch (s?.kind) {
    case undefined:
      return { frequencies: plain, factor: 1 };
    case "linear":
      return { frequencies: plain.map((x) => x / s.factor), factor: 1 };
    case "dynamic": {
      const stretch = (s.factor * Math.max(length, positions)) / positions - (s.factor - 1);
      return { frequencies: stretch === 1 ? plain : of(ropeTheta * stretch ** (size / (size - 2))), factor: 1 };
    }
    case "llama3": {
      const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositions } = s;
      const frequencies = plain.map((x) => {
        // How often it turns around within the original positions.
        const turns = (originalPositions * x) / (2 * Math.PI);
        const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
        return ((1 - kept) * x) / factor + kept * x;
      });
      return { frequencies, factor: 1 };
    }
    case "yarn": {
      const at = (turns: number): number =>
        (size * Math.log(s.originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(ropeTheta));
      const [first, last] = [at(s.betaFast), at(s.betaSlow)];
      const low = Math.max(s.truncate ? Math.floor(first) : first, 0);
      const high = Math.min(s.truncate ? Math.ceil(last) : last, size - 1);
      const width = low === high ? 0.001 : high - low;
      const frequencies = plain.map((x, i) => {
        const stretched = Math.min(1, Math.max(0, (i - low) / width));
        return (x / s.factor) * stretched + x * (1 - stretched);
      });
      return { frequencies, factor: s.attentionFactor };
    }
  }
}
