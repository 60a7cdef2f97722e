/** Tokens of a LLaMA made one after another, batch 1, weights in f32 and in blocks of q4_0: each token reads every weight once, so the
 *  bound is, in f32, the memory's bandwidth, measured between the tokens by a loop that reads as many bytes and does nothing else: a
 *  kernel in the WebAssembly tier, C beside the native one. Blocks of a model of this size fit into caches. The same weights as a GGUF file
 *  in llama.cpp; transformers on a model of its own. All take turns. Our f32 weights are packed once, which takes their memory twice, and are
 *  as they are in a row of their own (`…/as-it-is`). */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { cpuDriver } from "@sinan/cpu";
import { pieceBytes, reading } from "@sinan/cpu/bounds";
import { llama, type Llama, llamaConfig, llamaConfigToJson, quantizeLlama, Session } from "@sinan/llm";
import { type Activations, jit, key, nn, tensor, type Tensor } from "sinan";
import type { Device } from "sinan/south";
import { beside, type Figure } from "../figure.ts";
import { type CalledPeer, calledPeers, calledTorches } from "../called-peer.ts";
import { inFolder } from "../in-folder.ts";
import { inTurn, type Timed } from "../in-turn.ts";
import { times } from "../measure.ts";
import { writeGguf } from "../models/gguf.ts";
import { openCpu } from "../processor.ts";

/** 55 million weights: more than caches hold. */
const config = llamaConfig("llama-bench", {
  vocabSize: 8192,
  hiddenSize: 768,
  intermediateSize: 2048,
  numHiddenLayers: 6,
  numAttentionHeads: 12,
  numKeyValueHeads: 12,
  headDim: 64,
});
const prompt = Array.from({ length: 16 }, (_, i) => 31 * i);
/** Bytes of 32 weights. */
const blockBytes = { f32: 128, q4_0: 18 } as const;
type Format = keyof typeof blockBytes;
/** Of the magnitudes of the scores behind the prompt: llama.cpp keeps keys and values in f16, and beside blocks rounds to 8 bits. */
const tolerance = { f32: 0.002, q4_0: 0.05 } as const;

/** The cases were `token` before there were several formats. Beside blocks activations are rounded to 8 bits, as llama.cpp does. */
const caseOf = (format: Format): string => (format === "f32" ? "token" : `token-${format}`);

const isMatrix = (name: string): boolean => name.endsWith("_proj.weight") || name === "lm_head.weight";

const inFormat = (model: Llama, format: Format, activations: Activations): Llama =>
  format === "f32" ? model : quantizeLlama(model, format, { activations });

interface Asked {
  readonly threads: number;
  readonly isQuick: boolean;
  /** Of the weights that a token reads. */
  readonly bytes: number;
}

/** @param folder  for the files that the peers read */
async function peersOf(model: Llama, format: Format, folder: string, asked: Asked): Promise<CalledPeer[]> {
  const { threads, isQuick, bytes } = asked;
  const file = path.join(folder, `${format}.gguf`);
  await writeGguf(file, model);
  const json = path.join(folder, "config.json");
  writeFileSync(json, JSON.stringify(llamaConfigToJson(config)));
  const length = ["--prompt", prompt.join(","), "--length", String(config.maxPositionEmbeddings)];
  const settings = ["--case", caseOf(format), ...length];
  const counted = ["--threads", String(threads)];
  const programs = [
    { file: "llama-decode.py", args: ["--model", file, ...settings, ...counted], needs: "@node-llama-cpp" },
    ...(format === "f32"
      ? [{ file: "stream-read.mjs", args: ["--bytes", `${caseOf(format)}:${bytes}`, ...counted], needs: "." }]
      : []),
  ];
  const found = await calledPeers(programs, { threads });
  if (format !== "f32") return found;
  const theirs = {
    file: "transformers-decode.py",
    args: ["--config", json, ...settings],
    needs: "transformers",
  } as const;
  return [...found, ...(await calledTorches(theirs, threads, isQuick))];
}

/** Says where llama.cpp computes something else. */
async function compare(model: Llama, format: Format, theirs: Timed["theirs"]): Promise<void> {
  const scores = jit((m: Llama, ids: Tensor) => m(ids).narrow(1, prompt.length - 1, 1))(
    model,
    tensor([prompt], { dtype: "i32" }),
  );
  let total = 0;
  for (const v of (await scores.data()) as Float32Array) total += Math.abs(v);
  for (const { name, check } of theirs)
    if (name === "llama.cpp" && !(Math.abs(check - total) <= tolerance[format] * total))
      console.error(`llama-decode: ${format}: the magnitudes of our scores add up to ${total}, ${name}'s to ${check}`);
}

export const cases = inFolder(async function* (folder, { threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const fresh = llama(config).init(key(0));
  for (const format of Object.keys(blockBytes) as Format[]) {
    const model = inFormat(fresh, format, "int8");
    let bytes = 0;
    for (const [name, w] of Object.entries(nn.namedParameters(model))) {
      await w.data();
      if (isMatrix(name)) bytes += (w.size / 32) * blockBytes[format];
    }
    const called = peers ? await peersOf(model, format, folder, { threads, isQuick: quick, bytes }) : [];
    const memory = device === "cpu-wasm" && format === "f32" ? await reader(threads, bytes) : undefined;
    const all = [...called.filter(({ name }) => !memory || name !== memory.name), ...(memory ? [memory] : [])];
    const name = caseOf(format);
    // What is not rounded, or not packed, has a row of its own.
    const cases = [
      [name, model, true] as const,
      ...(format === "f32"
        ? [[`${name}/as-it-is`, model, false] as const]
        : [[`${name}/float`, inFormat(fresh, format, "float"), true] as const]),
    ];
    for (const [of, own, isFrozen] of cases) {
      const decoder = tokens(own, isFrozen);
      // The first ones compile.
      for (let i = 0; i < 3; i++) await decoder.next();
      const { ours, theirs } = await inTurn(decoder.next, all, name, { seconds, threads });
      decoder.dispose();
      await compare(own, format, theirs);
      const figure = { bench: "llama-decode", case: of, device, threads, unit: "tokens/s" } as const;
      const perSecond = theirs.map((peer) => ({ ...peer, value: 1 / peer.value }));
      yield* beside({ ...figure, value: 1 / ours }, perSecond);
    }
    for (const peer of called) peer.close();
  }
});

/** Tokens one after another; behind the prompt again where there is no more room. */
function tokens(model: Llama, isFrozen: boolean): { readonly next: () => Promise<void>; readonly dispose: () => void } {
  let session: Session | undefined;
  let token = 0;
  const next = async (): Promise<void> => {
    if (!session || session.length === config.maxPositionEmbeddings) {
      session?.dispose();
      session = new Session(model, { frozen: isFrozen });
      token = await session.next(prompt);
    }
    token = await session.next([token]);
  };
  return { next, dispose: () => session?.dispose() };
}

/** Reads so many bytes of memory by a kernel, shared by so many threads. */
async function reader(threads: number, bytes: number): Promise<CalledPeer> {
  const pieces = Math.ceil(bytes / pieceBytes);
  const own: Device = await cpuDriver.open("cpu:wasm", { threads });
  const executable = await own.load(reading(pieces, own.hardware.sharedMemory === true));
  const regions = [pieces * pieceBytes, 16 * pieces].map((size) => ({
    memory: own.alloc(size, "device"),
    offset: 0,
    bytes: size,
  }));
  for (const { memory } of regions) memory.view?.().fill(1);
  let clock = 0n;
  const read = (): Promise<void> => {
    const signal = { timeline: 0, value: ++clock };
    own.submit("compute", [{ kind: "launch", executable, regions, scalars: [] }], [], signal);
    return own.wait(signal);
  };
  return {
    name: "memory",
    version: `${(bytes / 2 ** 20).toFixed(0)} MiB`,
    turn: async (_, seconds) => ({ times: await times(read, { warmup: 1, atLeast: 1, seconds }), check: bytes }),
    close: () => void own.close(),
  };
}
