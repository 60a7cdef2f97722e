// Latency of ONNX models on ONNX Runtime, their outputs compared with given ones first.
// Run: node ort-infer.mjs --folder DIR --cases mlp-b1,... [--threads N --seconds 2]
// DIR holds NAME.onnx, NAME.x.bin and NAME.y.bin (f32), and NAME.json with the shape of x. Prints one JSON line a case, in ms.
import { readFileSync } from "node:fs";
import path from "node:path";
import ort from "onnxruntime-node";
import { cores, median, packageVersion, parseArgs, report, round, timeCalls } from "./measure.mjs";

const args = parseArgs({ folder: ".", cases: "", threads: 0, seconds: 2 });
const threads = args.threads || cores();
const file = (name) => path.join(args.folder, name);
const floats = (name) => new Float32Array(new Uint8Array(readFileSync(file(name))).buffer);
for (const name of args.cases.split(",")) {
  const session = await ort.InferenceSession.create(file(`${name}.onnx`), {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
  });
  const { shape } = JSON.parse(readFileSync(file(`${name}.json`), "utf8"));
  const feeds = { x: new ort.Tensor("float32", floats(`${name}.x.bin`), shape) };
  const [output] = session.outputNames;
  const theirs = (await session.run(feeds))[output].data;
  const ours = floats(`${name}.y.bin`);
  let [difference, largest] = [0, 0];
  for (let i = 0; i < ours.length; i++) {
    difference = Math.max(difference, Math.abs(theirs[i] - ours[i]));
    largest = Math.max(largest, Math.abs(ours[i]));
  }
  if (!(theirs.length === ours.length && difference <= 1e-3 * largest))
    throw new Error(`Error: ${name}: the outputs differ by ${difference}, the largest of them is ${largest}`);
  const times = await timeCalls(async () => (await session.run(feeds))[output].data, {
    warmup: 3,
    minSeconds: args.seconds,
    maxRuns: 2000,
  });
  report({
    name: "ort-node",
    version: packageVersion("onnxruntime-node"),
    case: name,
    threads,
    value: round(median(times) * 1e3),
    best: round(Math.min(...times) * 1e3),
    unit: "ms",
    runs: times.length,
    difference: round(difference / largest),
  });
  await session.release();
}
process.exit(0);
