/** Latency of whole models, f32, from an input in JavaScript's memory to an output there: ours as a user would write and jit them, with
 *  weights that stay, the same weights as an ONNX file on ONNX Runtime, which packs them once too and compares its output with ours before it
 *  is timed. Both take turns. */
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";
import { frozen, jit, key, nn, random, type Tensor, tensor } from "sinan";
import { calledPeer } from "../called-peer.ts";
import { beside, type Figure } from "../figure.ts";
import { inFolder } from "../in-folder.ts";
import { inTurn } from "../in-turn.ts";
import { type Pair, summary } from "../mean.ts";
import { encoder, type EncoderSize } from "../models/encoder.ts";
import { exportEncoder, exportMlp, exportResnet, type Weights } from "../models/exported.ts";
import { type Graph, onnxGraph } from "../models/onnx.ts";
import { resnet18 } from "../models/resnet.ts";
import { openCpu } from "../processor.ts";

interface Model {
  readonly name: string;
  readonly make: () => nn.Layer & nn.ModuleMethods;
  /** Of one example. */
  readonly input: readonly number[];
  readonly export: (g: Graph, weights: Weights, batch: number) => string;
}

const time = 128;
const transformer = (name: string, size: EncoderSize): Model => ({
  name,
  make: () => encoder(size),
  input: [time, size.width],
  export: (g, weights, batch) => exportEncoder(g, weights, { ...size, batch, time }),
});

const models: readonly Model[] = [
  {
    name: "mlp",
    make: () => nn.sequential(nn.linear(784, 1024), nn.relu, nn.linear(1024, 1024), nn.relu, nn.linear(1024, 10)),
    input: [784],
    export: (g, weights) => exportMlp(g, weights, 3),
  },
  {
    name: "resnet-18",
    make: () => resnet18({ classes: 1000, stem: "photo" }),
    input: [3, 224, 224],
    export: exportResnet,
  },
  transformer("encoder", { layers: 4, width: 256, heads: 8, norms: "before" }),
  transformer("bert-base", { layers: 12, width: 768, heads: 12, norms: "after" }),
];
const batches = [1, 8] as const;

/** A fresh model whose norms over batches have statistics that change something, and keep activations about as large as they were. */
function initial(model: nn.Layer & nn.ModuleMethods): nn.Layer {
  const made = model.init(key(0)) as nn.Layer & object;
  const parameters = nn.namedParameters(made);
  const statistics = Object.entries(parameters).flatMap(([name, { shape }], i): [string, Tensor][] => {
    if (name.endsWith("running_mean")) return [[name, random.normal(key(i), shape).mul(0.05)]];
    return name.endsWith("running_var") ? [[name, random.uniform(key(i), shape, { low: 0.1, high: 0.3 })]] : [];
  });
  return nn.withParameters(made, { ...parameters, ...Object.fromEntries(statistics) });
}

/** What the peer reads of one case. */
async function writeCase(
  folder: string,
  { name, model, batch, parameters }: { name: string; model: Model; batch: number; parameters: Weights },
  [x, y]: readonly [Float32Array, Tensor],
): Promise<void> {
  const file = (end: string): string => path.join(folder, `${name}.${end}`);
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
    new Uint8Array(buffer, byteOffset, byteLength);
  const g = onnxGraph();
  const output = model.export(g, parameters, batch);
  const onnx = openSync(file("onnx"), "w");
  for (const part of g.file([batch, ...model.input], output, y.shape)) writeSync(onnx, part);
  closeSync(onnx);
  writeFileSync(file("x.bin"), bytes(x));
  writeFileSync(file("y.bin"), bytes((await y.data()) as Float32Array));
  writeFileSync(file("json"), JSON.stringify({ shape: [batch, ...model.input] }));
}

export const cases = inFolder(async function* (folder, { threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const args = ["--folder", folder, "--threads", String(threads)];
  const program = { file: "ort-infer.mjs", args, needs: "onnxruntime-node" };
  const called = peers ? await calledPeer(program, { threads }) : null;
  const pairs: Pair[] = [];
  for (const model of models) {
    const made = initial(model.make());
    const values = new Map<string, { shape: readonly number[]; data: Float32Array }>();
    for (const [name, parameter] of Object.entries(nn.namedParameters(made as nn.Layer & object)))
      values.set(name, { shape: parameter.shape, data: (await parameter.data()) as Float32Array });
    const parameters: Weights = (name) => {
      const found = values.get(name);
      if (!found) throw new Error(`${model.name} has no ${name}, only ${[...values.keys()].join(", ")}`);
      return found;
    };
    const call = jit((self: nn.Layer, x: Tensor) => self(x), {
      name: model.name,
      frozen: frozen(0),
    });
    for (const batch of quick ? batches.slice(0, 1) : batches) {
      const name = `${model.name}-b${batch}`;
      const shape = [batch, ...model.input];
      const x = Float32Array.from((await random.normal(key(7), shape).data()) as Float32Array);
      const run = async (): Promise<void> => {
        const input = tensor(x, { shape });
        const y = call(made, input);
        await y.data();
        for (const one of [input, y]) one.dispose();
      };
      const y = call(made, tensor(x, { shape }));
      if (called) await writeCase(folder, { name, model, batch, parameters }, [x, y]);
      y.dispose();
      const timed = await inTurn(run, called ? [called] : [], name, { seconds, threads });
      const value = timed.ours * 1e3;
      const theirs = timed.theirs.map((peer) => ({ name: peer.name, version: peer.version, value: peer.value * 1e3 }));
      pairs.push({ name, ours: value, theirs });
      yield* beside({ bench: "infer", case: name, device, threads, value, unit: "ms" }, theirs);
    }
  }
  called?.close();
  const of = { bench: "infer", device, threads, unit: "ms" } as const;
  yield* summary(of, pairs, { mean: "geometric-mean", least: "least", best: "best" });
});
