/** A trained model with its tokenizer, from a directory of checkpoints, one checkpoint, or a directory of Hugging Face. */
import { type Files, FormatError, joinPath, loadCheckpoint } from "sinan";
import { llamaConfigFromJson } from "./config.ts";
import type { Llama } from "./model/llama.ts";
import { tokenizerFromJson } from "./tokenizer/read-json.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import { loadLlama } from "./weights/files.ts";
import { llamaFromStored } from "./weights/stored.ts";

/** A model with its tokenizer, read from a checkpoint. */
export interface Loaded {
  readonly model: Llama;
  readonly tokenizer: Tokenizer;
  /** The directory that the files are in. */
  readonly path: string;
}

/** Reads a model to generate with: of a directory of checkpoints the newest that is whole.
 *
 *  @throws CheckpointError, FormatError, FileError, ShapeError naming the file
 *  @example const { model, tokenizer } = await loadTrained(nodeFiles(), "runs/moby-dick-llama-tiny"); */
export async function loadTrained(files: Files, directory: string): Promise<Loaded> {
  const plain =
    (await files.exists(joinPath(directory, "config.json"))) &&
    !(await files.exists(joinPath(directory, "manifest.json")));
  if (plain) {
    const text = new TextDecoder().decode(await files.read(joinPath(directory, "tokenizer.json")));
    return matched(await loadLlama(files, directory), tokenizerFromJson(text), directory);
  }
  const { path, documents, tensors, blobs } = await loadCheckpoint(files, directory, { groups: ["model"] });
  const config = documents["config"];
  const weights = tensors["model"];
  const text = blobs["tokenizer.json"];
  if (config === undefined || weights === undefined || typeof text !== "string") {
    throw new FormatError(
      `${path}: expected config.json, model.safetensors and tokenizer.json in the checkpoint of a language model`,
    );
  }
  const model = llamaFromStored(llamaConfigFromJson(config, joinPath(path, "config.json")), weights, {
    what: joinPath(path, "model.safetensors"),
  });
  return matched(model, tokenizerFromJson(text), path);
}

function matched(model: Llama, tokenizer: Tokenizer, path: string): Loaded {
  if (tokenizer.vocabSize <= model.config.vocabSize) return { model, tokenizer, path };
  throw new FormatError(`${path}: the tokenizer has ${tokenizer.vocabSize} ids, the model ${model.config.vocabSize}`, {
    hint: "tokenizer.json and config.json belong to different models.",
  });
}
