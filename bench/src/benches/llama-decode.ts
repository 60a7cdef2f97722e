/** Tokens of a LLaMA made one after another, batch 1, weights in f32 and in blocks of q4_0: each token reads every weight once, so the
 *  bound is the memory's bandwidth, measured between the tokens in the WebAssembly tier by a kernel that reads as many bytes and does
 *  nothing else. The same weights as a GGUF file in llama.cpp; transformers on a model of its own. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { cpuDriver } from "@sinan/cpu";
import { pieceBytes, reading } from "@sinan/cpu/bounds";
import { llama, type Llama, llamaConfig, llamaConfigToJson, quantizeLlama, Session } from "@sinan/llm";
import { type Activations, jit, key, nn, tensor, type Tensor } from "sinan";
import type { Device } from "sinan/south";
import { beside, type Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median, times } from "../measure.ts";
import { writeGguf } from "../models/gguf.ts";
import { ofCase, type PeerLine, runAll, runTorch } from "../peers.ts";
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

async function peersOf(
  model: Llama,
  format: Format,
  { threads, seconds, isQuick }: { readonly threads: number; readonly seconds: number; readonly isQuick: boolean },
): Promise<PeerLine[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-decode-"));
  try {
    const file = path.join(folder, "model.gguf");
    await writeGguf(file, model);
    const json = path.join(folder, "config.json");
    writeFileSync(json, JSON.stringify(llamaConfigToJson(config)));
    const length = ["--prompt", prompt.join(","), "--length", String(config.maxPositionEmbeddings)];
    const settings = ["--case", caseOf(format), ...length, "--seconds", String(seconds)];
    const args = ["--model", file, ...settings, "--threads", String(threads)];
    const own = await runAll([{ file: "llama-decode.py", args, needs: "@node-llama-cpp" }], threads);
    if (format !== "f32") return own;
    const theirs = { isQuick, needs: "transformers" } as const;
    return [...own, ...(await runTorch("transformers-decode.py", ["--config", json, ...settings], threads, theirs))];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Says where the peer computes something else. */
async function compare(model: Llama, format: Format, lines: readonly PeerLine[]): Promise<void> {
  const scores = jit((m: Llama, ids: Tensor) => m(ids).narrow(1, prompt.length - 1, 1))(
    model,
    tensor([prompt], { dtype: "i32" }),
  );
  let total = 0;
  for (const v of (await scores.data()) as Float32Array) total += Math.abs(v);
  for (const { name, check } of lines)
    if (check !== undefined && !(Math.abs(check - total) <= tolerance[format] * total))
      console.error(`llama-decode: ${format}: the magnitudes of our scores add up to ${total}, ${name}'s to ${check}`);
}

export const cases: Cases = async function* ({ threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const fresh = llama(config).init(key(0));
  for (const format of Object.keys(blockBytes) as Format[]) {
    const model = inFormat(fresh, format, "int8");
    let bytes = 0;
    for (const [name, w] of Object.entries(nn.namedParameters(model))) {
      await w.data();
      if (isMatrix(name)) bytes += (w.size / 32) * blockBytes[format];
    }
    const measured = peers ? await peersOf(model, format, { threads, seconds, isQuick: quick }) : [];
    const name = caseOf(format);
    // The unrounded case has a row of its own.
    const all = [
      [name, model] as const,
      ...(format === "f32" ? [] : [[`${name}/float`, inFormat(fresh, format, "float")] as const]),
    ];
    for (const [of, own] of all) {
      await compare(own, format, measured);
      const read = device === "cpu-wasm" ? await reader(threads, Math.ceil(bytes / pieceBytes)) : undefined;
      const { taken, bound } = await decode(own, seconds, read);
      const figure = { bench: "llama-decode", case: of, device, threads, unit: "tokens/s" } as const;
      // The first ones compile.
      const perSecond = (each: readonly number[]): number => 1 / median(each.slice(2));
      const memory = read
        ? [{ name: "memory", version: `${(bytes / 2 ** 20).toFixed(0)} MiB`, value: perSecond(bound) }]
        : [];
      yield* beside({ ...figure, value: perSecond(taken) }, [...memory, ...ofCase(measured, name)]);
    }
  }
};

/** The seconds of each token, and of reading as many bytes between them. */
async function decode(
  model: Llama,
  seconds: number,
  read: (() => Promise<void>) | undefined,
): Promise<{ taken: number[]; bound: number[] }> {
  const bound: number[] = [];
  const taken: number[] = [];
  const once = { warmup: 0, atLeast: 1, seconds: 0 };
  let session = new Session(model);
  let token = await session.next(prompt);
  const end = performance.now() + seconds * 1000;
  while (taken.length < 16 || performance.now() < end) {
    if (session.length === config.maxPositionEmbeddings) {
      session.dispose();
      session = new Session(model);
      token = await session.next(prompt);
    }
    taken.push(...(await times(async () => (token = await session.next([token])), once)));
    if (read) bound.push(...(await times(read, once)));
  }
  session.dispose();
  return { taken, bound };
}

/** Reads so many pieces of memory, shared by so many threads. */
async function reader(threads: number, pieces: number): Promise<() => Promise<void>> {
  const own: Device = await cpuDriver.open("cpu:wasm", { threads });
  const executable = await own.load(reading(pieces, own.hardware.sharedMemory === true));
  const regions = [pieces * pieceBytes, 16 * pieces].map((bytes) => ({
    memory: own.alloc(bytes, "device"),
    offset: 0,
    bytes,
  }));
  for (const { memory } of regions) memory.view?.().fill(1);
  let clock = 0n;
  return () => {
    const signal = { timeline: 0, value: ++clock };
    own.submit("compute", [{ kind: "launch", executable, regions, scalars: [] }], [], signal);
    return own.wait(signal);
  };
}
