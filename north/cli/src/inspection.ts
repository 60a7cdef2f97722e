/** What is in a file or directory of a language model: weights by shape, the configuration's figures, a tokenizer, a checkpoint's run. Of
 *  weights only the headers are read. */
import {
  FileError,
  type Files,
  FormatError,
  joinPath,
  type Json,
  latestCheckpoint,
  openSafetensors,
  parseJson,
  randomAccess,
  type StoredTensorInfo,
} from "sinan";
import {
  flopsPerToken,
  type LlamaConfig,
  llamaConfigFromJson,
  llamaPresets,
  parameterCount,
  tokenizerFromJson,
} from "@sinan/llm";

/** Tensors of one shape whose names differ in the number of a layer. */
export interface TensorGroup {
  /** `model.layers.{0…21}.mlp.up_proj.weight` */
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly count: number;
  readonly bytes: number;
}

export interface Weights {
  readonly files: readonly string[];
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
  readonly dtypes: Readonly<Record<string, number>>;
  readonly groups: readonly TensorGroup[];
  readonly metadata: Readonly<Record<string, string>>;
}

export interface ConfigFigures {
  readonly family: string;
  readonly parameters: number;
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabulary: number;
  readonly positions: number;
  readonly tied: boolean;
  /** At half of all positions, which is the mean of a full sequence. */
  readonly flopsPerToken: { readonly forward: number; readonly training: number };
  /** Of keys and values in f32. */
  readonly cacheBytesPerToken: number;
}

export interface TokenizerFigures {
  readonly vocabulary: number;
  readonly merges: number;
  readonly addedTokens: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
  readonly longest: readonly string[];
}

export interface Inspection {
  readonly path: string;
  readonly kind: "weights" | "configuration" | "tokenizer" | "model" | "checkpoint";
  readonly step?: number;
  readonly options?: Json;
  readonly configuration?: ConfigFigures;
  readonly weights?: Weights;
  /** Of a checkpoint, beside the model's. */
  readonly optimizer?: Weights;
  readonly tokenizer?: TokenizerFigures;
}

export interface InspectOptions {
  /** Whether layers of one shape are shown as one. Default true. */
  readonly isFolded?: boolean;
}

/** The figures of each preset by name. */
export const inspectPresets = (): Readonly<Record<string, ConfigFigures>> =>
  Object.fromEntries(Object.entries(llamaPresets).map(([name, config]) => [name, figuresOf(config)]));

/** @throws FileError, FormatError, CheckpointError naming the file */
export async function inspect(
  files: Files,
  path: string,
  { isFolded = true }: InspectOptions = {},
): Promise<Inspection> {
  const found = await look(files, path);
  if (isFolded) return found;
  const { weights } = found;
  return weights ? { ...found, weights: await weightsOf(files, weights.files, false) } : found;
}

async function look(files: Files, path: string): Promise<Inspection> {
  if (!(await files.exists(path)))
    throw new FileError(`cannot read ${path}: there is no such file or directory`, { path, code: "ENOENT" });
  const { kind } = await files.stat(path);
  if (kind === "directory") return inspectDirectory(files, path);
  if (path.endsWith(".safetensors")) return { path, kind: "weights", weights: await weightsOf(files, [path]) };
  if (!path.endsWith(".json"))
    throw new FormatError(`${path}: expected a .safetensors or .json file, or a directory`, {
      hint: "sinan inspect reads weights, config.json, tokenizer.json, and directories of them.",
    });
  const json = await readJson(files, path);
  if (isRecord(json) && isRecord(json["model"])) return { path, kind: "tokenizer", tokenizer: tokenizerFigures(json) };
  if (isRecord(json) && isRecord(json["weight_map"])) {
    const home = path.slice(0, Math.max(0, path.lastIndexOf("/"))) || ".";
    return { path, kind: "weights", weights: await weightsOf(files, shards(json, home)) };
  }
  return { path, kind: "configuration", configuration: configFigures(json, path) };
}

async function inspectDirectory(files: Files, directory: string): Promise<Inspection> {
  const isCheckpoint = await files.exists(joinPath(directory, "manifest.json"));
  const hasConfig = await files.exists(joinPath(directory, "config.json"));
  let path = directory;
  if (!isCheckpoint && !hasConfig) {
    const latest = await latestCheckpoint(files, directory, { groups: [], onWarning: () => undefined });
    if (latest === null)
      throw new FormatError(`${directory}: there is no config.json in it, and no checkpoint`, {
        hint: "Give the directory of a model, of a run, or one of its checkpoints.",
      });
    path = latest.path;
  }
  const at = (name: string): string => joinPath(path, name);
  const has = async (name: string): Promise<boolean> => files.exists(at(name));
  const index = "model.safetensors.index.json";
  const parts = (await has("model.safetensors"))
    ? [at("model.safetensors")]
    : (await has(index))
      ? shards(await readJson(files, at(index)), path)
      : [];
  const record = (await has("trainer.json")) ? await readJson(files, at("trainer.json")) : null;
  return {
    path,
    kind: record ? "checkpoint" : "model",
    ...(isRecord(record) && typeof record["step"] === "number" && { step: record["step"] }),
    ...(isRecord(record) && { options: record["options"] ?? null }),
    ...((await has("config.json")) && {
      configuration: configFigures(await readJson(files, at("config.json")), at("config.json")),
    }),
    ...(parts.length > 0 && { weights: await weightsOf(files, parts) }),
    ...((await has("optimizer.safetensors")) && { optimizer: await weightsOf(files, [at("optimizer.safetensors")]) }),
    ...((await has("tokenizer.json")) && {
      tokenizer: tokenizerFigures(await readJson(files, at("tokenizer.json"))),
    }),
  };
}

const isRecord = (value: unknown): value is Readonly<Record<string, Json>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const readJson = async (files: Files, path: string): Promise<Json> =>
  parseJson(new TextDecoder().decode(await files.read(path)), path);

function shards(index: Json, home: string): string[] {
  const map = isRecord(index) ? index["weight_map"] : undefined;
  const names = isRecord(map) ? Object.values(map) : [];
  return [...new Set(names.map(String))].sort().map((name) => {
    if (!/^[\w.-]+$/.test(name) || name.startsWith("."))
      throw new FormatError(`${home}: the index names a file that is not beside it: ${JSON.stringify(name)}`);
    return joinPath(home, name);
  });
}

async function weightsOf(files: Files, paths: readonly string[], isFolded = true): Promise<Weights> {
  const infos = new Map<string, StoredTensorInfo>();
  const metadata: Record<string, string> = {};
  for (const path of paths) {
    const part = await openSafetensors(await randomAccess(files, path));
    for (const [name, info] of part.tensors) infos.set(name, info);
    Object.assign(metadata, part.metadata);
  }
  const dtypes: Record<string, number> = {};
  for (const { dtype, shape } of infos.values()) dtypes[dtype] = (dtypes[dtype] ?? 0) + sizeOf(shape);
  const all = [...infos.values()];
  return {
    files: paths,
    tensors: all.length,
    parameters: all.reduce((n, { shape }) => n + sizeOf(shape), 0),
    bytes: all.reduce((n, { length }) => n + length, 0),
    dtypes,
    groups: isFolded
      ? folded(infos)
      : [...infos].map(([name, { shape, dtype, length }]) => ({ name, shape, dtype, count: 1, bytes: length })),
    metadata,
  };
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Tensors whose names differ in their first number alone, and whose shapes and dtypes do not, as one. */
export function folded(
  infos: ReadonlyMap<string, Pick<StoredTensorInfo, "dtype" | "shape" | "length">>,
): TensorGroup[] {
  const groups = new Map<string, { numbers: number[]; group: TensorGroup; names: readonly [string, string] }>();
  const byName = new Intl.Collator("en", { numeric: true });
  for (const [name, { dtype, shape, length }] of [...infos].sort(([a], [b]) => byName.compare(a, b))) {
    const found = /^(.*?\.)(\d+)(\..*)$/.exec(name);
    const names = [found?.[1] ?? name, found?.[3] ?? ""] as const;
    const key = JSON.stringify([names, found !== null, dtype, shape]);
    const own = groups.get(key) ?? { numbers: [], names, group: { name, shape, dtype, count: 0, bytes: 0 } };
    if (found) own.numbers.push(Number(found[2]));
    const { count, bytes } = own.group;
    groups.set(key, { ...own, group: { ...own.group, count: count + 1, bytes: bytes + length } });
  }
  return [...groups.values()].map(({ numbers, group, names: [before, after] }) =>
    group.count === 1 ? group : { ...group, name: `${before}{${spans(numbers)}}${after}` },
  );
}

/** `0…21`, `0,2…5`. */
function spans(numbers: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const n of numbers) {
    const last = parts.at(-1);
    if (last && n === last[1] + 1) last[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}…${to}`)).join(",");
}

const configFigures = (json: Json, path: string): ConfigFigures => figuresOf(llamaConfigFromJson(json, path));

function figuresOf(config: LlamaConfig): ConfigFigures {
  const { numHiddenLayers: layers, numKeyValueHeads: kvHeads, headDim, maxPositionEmbeddings: positions } = config;
  const length = Math.ceil(positions / 2);
  return {
    family: config.modelType,
    parameters: parameterCount(config),
    layers,
    hidden: config.hiddenSize,
    intermediate: config.intermediateSize,
    heads: config.numAttentionHeads,
    kvHeads,
    headDim,
    vocabulary: config.vocabSize,
    positions,
    tied: config.tieWordEmbeddings,
    flopsPerToken: {
      forward: flopsPerToken(config, length),
      training: flopsPerToken(config, length, { train: true }),
    },
    cacheBytesPerToken: 2 * layers * kvHeads * headDim * 4,
  };
}

function tokenizerFigures(json: Json): TokenizerFigures {
  const tokenizer = tokenizerFromJson(json);
  const model = isRecord(json) ? json["model"] : undefined;
  const merges = isRecord(model) && Array.isArray(model["merges"]) ? model["merges"].length : 0;
  const isAdded = new Set(tokenizer.addedTokens.map(({ id }) => id));
  const words: string[] = [];
  for (let id = 0; id < tokenizer.vocabSize; id++) if (!isAdded.has(id)) words.push(tokenizer.decode([id]));
  return {
    vocabulary: tokenizer.vocabSize,
    merges,
    addedTokens: tokenizer.addedTokens.map(({ id, content, special }) => ({ id, content, special })),
    longest: words.sort((a, b) => b.length - a.length).slice(0, 8),
  };
}
