/** Tokens of a LLaMA made one after another, batch 1, f32: each one reads every weight once, so the bound is the memory's bandwidth,
 *  measured between the tokens by a kernel that reads as many bytes and does nothing else. */
import { cpuDriver } from "@sinan/cpu";
import { pieceBytes, reading } from "@sinan/cpu/bounds";
import { llama, llamaConfig, Session } from "@sinan/llm";
import { device, key, tree } from "sinan";
import type { Device } from "sinan/south";
import { beside, type Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median, times } from "../measure.ts";

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
const prompt = 16;

export const cases: Cases = async function* ({ threads, seconds }): AsyncGenerator<Figure> {
  await device("cpu", { options: { threads } });
  const model = llama(config).init(key(0));
  let weights = 0;
  for (const { tensor } of tree.tensors(model)) {
    await tensor.at(...tensor.shape.map(() => 0)).item();
    // Of the embedding a token reads one row.
    if (tensor !== model.model.embed_tokens.weight) weights += 4 * tensor.shape.reduce((n, d) => n * d, 1);
  }
  const read = await reader(threads, Math.ceil(weights / pieceBytes));
  const bound: number[] = [];
  const taken: number[] = [];
  const { maxPositionEmbeddings: most } = config;
  let session = new Session(model);
  let token = await session.next(Array.from({ length: prompt }, (_, i) => 31 * i));
  const end = performance.now() + seconds * 1000;
  while (taken.length < 16 || performance.now() < end) {
    if (session.length === most) {
      session.dispose();
      session = new Session(model);
    }
    taken.push(
      ...(await times(async () => (token = await session.next([token])), { warmup: 0, atLeast: 1, seconds: 0 })),
    );
    bound.push(...(await times(read, { warmup: 0, atLeast: 1, seconds: 0 })));
  }
  session.dispose();
  const figure = { bench: "llama-decode", case: "token", device: "cpu-wasm", threads, unit: "tokens/s" } as const;
  // The first ones compile.
  yield* beside({ ...figure, value: 1 / median(taken.slice(2)) }, [
    { name: "memory", version: `${(weights / 2 ** 20).toFixed(0)} MiB`, value: 1 / median(bound.slice(2)) },
  ]);
};

/** Reads so many pieces of memory, shared by so many threads. */
async function reader(threads: number, pieces: number): Promise<() => Promise<void>> {
  const own: Device = await cpuDriver.open("cpu", { threads });
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
