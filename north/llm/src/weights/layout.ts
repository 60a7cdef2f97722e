/** How the files of a family hold the weights of the decoder's tree. Most have them under the names of the tree; some have names of
 *  their own, matrices the other way round, or several weights in one tensor. */

import { concat, reshape, slice, type Tensor, transpose } from "sinan";
import type { LlamaConfig } from "../config.ts";
import type { ModelType } from "../config/families.ts";
import { llama } from "../model/llama.ts";
import { weightShapes } from "./shapes.ts";

type Shape = readonly number[];

/** A tensor of a file. */
export interface Held {
  readonly shape: Shape;
  /** Whether it is another tensor than the weight; those of one kind and shape are taken apart alike. */
  readonly isApart: boolean;
  readonly kind: string;
  /** The weights of the tree that it holds. */
  readonly paths: readonly string[];
  /** Them from it, and it from them. */
  readonly split: (whole: Tensor) => readonly Tensor[];
  readonly join: (parts: readonly Tensor[]) => Tensor;
}

/** How several weights are one tensor. */
interface Packing {
  readonly shape: (shapes: readonly Shape[]) => Shape;
  readonly split: (whole: Tensor, shapes: readonly Shape[], config: LlamaConfig) => readonly Tensor[];
  readonly join: (parts: readonly Tensor[], config: LlamaConfig) => Tensor;
}

const first = <T>([only]: readonly T[]): T => only as T;

const alone: Packing = { shape: first, split: (whole) => [whole], join: first };

/** A matrix `[in, out]`, as GPT-2 has them. */
const flipped: Packing = {
  shape: (shapes) => [...first(shapes)].reverse(),
  split: (whole) => [whole.rank === 2 ? transpose(whole) : whole],
  join: (parts) => (first(parts).rank === 2 ? transpose(first(parts)) : first(parts)),
};

/** One under another. */
const stacked: Packing = {
  shape: (shapes) => [shapes.reduce((sum, [rows]) => sum + (rows as number), 0), ...first(shapes).slice(1)],
  split(whole, shapes) {
    let start = 0;
    return shapes.map(([rows]) => whole.at(slice(start, (start += rows as number))));
  },
  join: (parts) => concat(parts, 0),
};

/** Stacked, then the other way round. */
const stackedFlipped: Packing = {
  shape: (shapes) => flipped.shape([stacked.shape(shapes)]),
  split: (whole, shapes, config) => stacked.split(first(flipped.split(whole, shapes, config)), shapes, config),
  join: (parts, config) => flipped.join([stacked.join(parts, config)], config),
};

/** Head by head: its query, its key, its value. */
const byHead: Packing = {
  shape: stacked.shape,
  split(whole, shapes, { numAttentionHeads: heads, headDim }) {
    const rest = whole.shape.slice(1);
    const parted = reshape(whole, [heads, 3, headDim, ...rest]);
    return shapes.map((shape, i) => reshape(parted.at(slice(), i), shape));
  },
  join(parts, { numAttentionHeads: heads, headDim }) {
    const rest = first(parts).shape.slice(1);
    const each = parts.map((p) => reshape(p, [heads, 1, headDim, ...rest]));
    return reshape(concat(each, 1), [3 * heads * headDim, ...rest]);
  },
};

/** From what the names of the tree begin with (behind `model.layers.N.` for a layer's) to what the file has there. */
type Names = Readonly<Record<string, string>>;

interface Layout {
  readonly whole?: Names;
  /** What stands before the number of a layer. */
  readonly layers?: string;
  readonly layer?: Names;
  /** By the file's name without `.weight` and `.bias`. */
  readonly packing?: Readonly<Record<string, Packing>>;
}

const layouts: Readonly<Partial<Record<ModelType, Layout>>> = {
  phi: {
    whole: { "model.norm": "model.final_layernorm" },
    layer: {
      "self_attn.o_proj": "self_attn.dense",
      "self_attn.q_norm": "self_attn.q_layernorm",
      "self_attn.k_norm": "self_attn.k_layernorm",
      "mlp.up_proj": "mlp.fc1",
      "mlp.down_proj": "mlp.fc2",
    },
  },
  starcoder2: { layer: { "mlp.up_proj": "mlp.c_fc", "mlp.down_proj": "mlp.c_proj" } },
  phi3: {
    layer: {
      "self_attn.q_proj": "self_attn.qkv_proj",
      "self_attn.k_proj": "self_attn.qkv_proj",
      "self_attn.v_proj": "self_attn.qkv_proj",
      "mlp.gate_proj": "mlp.gate_up_proj",
      "mlp.up_proj": "mlp.gate_up_proj",
    },
    packing: { "self_attn.qkv_proj": stacked, "mlp.gate_up_proj": stacked },
  },
  gpt_neox: {
    whole: {
      "model.embed_tokens": "gpt_neox.embed_in",
      "model.norm": "gpt_neox.final_layer_norm",
      lm_head: "embed_out",
    },
    layers: "gpt_neox.layers",
    layer: {
      "self_attn.q_proj": "attention.query_key_value",
      "self_attn.k_proj": "attention.query_key_value",
      "self_attn.v_proj": "attention.query_key_value",
      "self_attn.o_proj": "attention.dense",
      "mlp.up_proj": "mlp.dense_h_to_4h",
      "mlp.down_proj": "mlp.dense_4h_to_h",
    },
    packing: { "attention.query_key_value": byHead },
  },
  bloom: {
    whole: {
      "model.embed_tokens": "transformer.word_embeddings",
      "model.embed_norm": "transformer.word_embeddings_layernorm",
      "model.norm": "transformer.ln_f",
    },
    layers: "transformer.h",
    layer: {
      "self_attn.q_proj": "self_attention.query_key_value",
      "self_attn.k_proj": "self_attention.query_key_value",
      "self_attn.v_proj": "self_attention.query_key_value",
      "self_attn.o_proj": "self_attention.dense",
      "mlp.up_proj": "mlp.dense_h_to_4h",
      "mlp.down_proj": "mlp.dense_4h_to_h",
    },
    packing: { "self_attention.query_key_value": byHead },
  },
  gpt2: {
    whole: {
      "model.embed_tokens": "transformer.wte",
      "model.embed_positions": "transformer.wpe",
      "model.norm": "transformer.ln_f",
    },
    layers: "transformer.h",
    layer: {
      input_layernorm: "ln_1",
      post_attention_layernorm: "ln_2",
      "self_attn.q_proj": "attn.c_attn",
      "self_attn.k_proj": "attn.c_attn",
      "self_attn.v_proj": "attn.c_attn",
      "self_attn.o_proj": "attn.c_proj",
      "mlp.up_proj": "mlp.c_fc",
      "mlp.down_proj": "mlp.c_proj",
    },
    packing: {
      "attn.c_attn": stackedFlipped,
      "attn.c_proj": flipped,
      "mlp.c_fc": flipped,
      "mlp.c_proj": flipped,
    },
  },
};

/** What the names of a file begin with but for the output layer's, and do not in files of a model without one. */
const trunkName = (config: LlamaConfig): string =>
  `${(layouts[config.modelType]?.layers ?? "model.layers").split(".")[0]}.`;

/** What the files of a model hold, by their names, in the order of the tree.
 *  @param isBare  whether they are named as in a file of the trunk alone: GPT-2 and BLOOM are published as such */
export function heldOf(config: LlamaConfig, isBare = false): ReadonlyMap<string, Held> {
  const trunk = trunkName(config);
  const bare = (name: string): string => (isBare && name.startsWith(trunk) ? name.slice(trunk.length) : name);
  const layout = layouts[config.modelType] ?? {};
  const shapes = weightShapes(llama(config));
  const groups = new Map<string, { readonly packing: Packing; readonly members: { path: string; rank: number }[] }>();
  for (const path of shapes.keys()) {
    const { name, packing, rank } = placeOf(path, layout);
    const { members } = groups.get(name) ?? { members: [] as { path: string; rank: number }[] };
    members.push({ path, rank });
    groups.set(name, { packing, members });
  }
  return new Map(
    [...groups].map(([name, { packing, members }]) => {
      const paths = members.sort((a, b) => a.rank - b.rank).map(({ path }) => path);
      const each = paths.map((path) => shapes.get(path) as Shape);
      const held: Held = {
        shape: packing.shape(each),
        isApart: packing !== alone,
        kind: packing === alone ? "alone" : `${name.replace(/\d+/, "N")} ${JSON.stringify(config)}`,
        paths,
        split: (whole) => packing.split(whole, each, config),
        join: (parts) => packing.join(parts, config),
      };
      return [bare(name), held];
    }),
  );
}

/** @returns rank  the weight's place in a tensor of several, which is that in the table above */
function placeOf(path: string, layout: Layout): { name: string; packing: Packing; rank: number } {
  const [, prefix, number, inside] = /^(model\.layers)\.(\d+)\.(.+)$/.exec(path) ?? [];
  const [names, own] = inside === undefined ? [layout.whole, path] : [layout.layer, inside];
  const [, stem, kind] = /^(.+)\.(weight|bias)$/.exec(own) as unknown as [string, string, string];
  const held = names && Object.hasOwn(names, stem) ? (names[stem] as string) : stem;
  const name = inside === undefined ? held : `${layout.layers ?? prefix}.${number}.${held}`;
  const rank = Object.keys(names ?? {}).indexOf(stem);
  return { name: `${name}.${kind}`, packing: layout.packing?.[held] ?? alone, rank };
}
