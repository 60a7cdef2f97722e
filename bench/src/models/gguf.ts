/** LLaMAs as GGUF files, as llama.cpp reads them: version 3, without a vocabulary, matrices as f32 or in the blocks that they have.
 *  llama.cpp turns neighbours in a head where ours turns halves, so the rows of queries and keys change places.
 *  @see ggml-org/ggml docs/gguf.md */
import { closeSync, openSync, writeSync } from "node:fs";
import { nn } from "sinan";
import type { Llama } from "@sinan/llm";

const alignment = 32;
/** enum ggml_type, of the dtypes that are written. */
const typeNumbers: Readonly<Record<string, number>> = { f32: 0, q4_0: 2, q8_0: 8 };
/** enum gguf_metadata_value_type. */
const [u32, f32, string] = [4, 6, 8];

const little = (bytes: number, write: (view: DataView) => void): Uint8Array => {
  const out = new Uint8Array(bytes);
  write(new DataView(out.buffer));
  return out;
};
const int32 = (value: number): Uint8Array => little(4, (view) => view.setUint32(0, value, true));
const int64 = (value: number): Uint8Array => little(8, (view) => view.setBigUint64(0, BigInt(value), true));
const float32 = (value: number): Uint8Array => little(4, (view) => view.setFloat32(0, value, true));
const text = (value: string): Uint8Array[] => {
  const bytes = new TextEncoder().encode(value);
  return [int64(bytes.length), bytes];
};

type Entry = readonly [key: string, type: number, value: Uint8Array[]];

function metadata({ config }: Llama): Entry[] {
  const size = (key: string, value: number): Entry => [`llama.${key}`, u32, [int32(value)]];
  return [
    ["general.architecture", string, text("llama")],
    ["tokenizer.ggml.model", string, text("none")],
    size("vocab_size", config.vocabSize),
    size("block_count", config.numHiddenLayers),
    size("context_length", config.maxPositionEmbeddings),
    size("embedding_length", config.hiddenSize),
    size("feed_forward_length", config.intermediateSize),
    size("attention.head_count", config.numAttentionHeads),
    size("attention.head_count_kv", config.numKeyValueHeads),
    size("rope.dimension_count", config.headDim),
    ["llama.attention.layer_norm_rms_epsilon", f32, [float32(config.normEpsilon)]],
    ["llama.rope.freq_base", f32, [float32(config.ropeTheta)]],
  ];
}

/** llama.cpp's names for those of Hugging Face, which ours are. */
const names: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens\./, "token_embd."],
  [/^model\.norm\./, "output_norm."],
  [/^lm_head\./, "output."],
  [/^model\.layers\.(\d+)\./, "blk.$1."],
  [/self_attn\.([qkv])_proj/, "attn_$1"],
  [/self_attn\.o_proj/, "attn_output"],
  [/mlp\.(\w+)_proj/, "ffn_$1"],
  [/post_attention_layernorm/, "ffn_norm"],
  [/input_layernorm/, "attn_norm"],
];
const nameOf = (name: string): string => names.reduce((text, [from, to]) => text.replace(from, to), name);

/** Rows of each head's halves in turn. */
function interleaved(bytes: Uint8Array, rows: number, headDim: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  const row = bytes.length / rows;
  for (let to = 0; to < rows; to++) {
    const place = to % headDim;
    const from = to - place + (place % 2) * (headDim / 2) + (place >> 1);
    out.set(bytes.subarray(from * row, (from + 1) * row), to * row);
  }
  return out;
}

/** Writes a LLaMA of f32 and blocks. */
export async function writeGguf(file: string, model: Llama): Promise<void> {
  const entries = metadata(model);
  const tensors = Object.entries(nn.namedParameters(model));
  const header: Uint8Array[] = [
    new TextEncoder().encode("GGUF"),
    int32(3),
    int64(tensors.length),
    int64(entries.length),
    ...entries.flatMap(([key, type, value]) => [...text(key), int32(type), ...value]),
  ];
  const data: Uint8Array[] = [];
  let offset = 0;
  for (const [name, parameter] of tensors) {
    const { buffer, byteOffset, byteLength } = (await parameter.data()) as Float32Array | Uint8Array;
    const own = new Uint8Array(buffer, byteOffset, byteLength);
    const turns = /self_attn\.[qk]_proj/.test(name);
    const bytes = turns ? interleaved(own, parameter.shape[0] ?? 1, model.config.headDim) : own.slice();
    const type = typeNumbers[parameter.dtype];
    if (type === undefined) throw new RangeError(`${name} is ${parameter.dtype}, which is not written`);
    const dims = parameter.shape.toReversed();
    header.push(...text(nameOf(name)), int32(dims.length), ...dims.map(int64), int32(type), int64(offset));
    const padding = -byteLength & (alignment - 1);
    data.push(bytes, new Uint8Array(padding));
    offset += byteLength + padding;
  }
  const length = header.reduce((n, part) => n + part.length, 0);
  const out = openSync(file, "w");
  for (const part of [...header, new Uint8Array(-length & (alignment - 1)), ...data]) writeSync(out, part);
  closeSync(out);
}
