// Latency of ONNX models on ONNX Runtime, their outputs compared with given ones first.
// Run: node ort-infer.mjs --folder DIR [--threads N]
// Answers lines as turns.mjs says. Of a case, DIR holds NAME.onnx, NAME.x.bin and NAME.y.bin (f32), and NAME.json with the shape of x.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import ort from "onnxruntime-node";
import { cores, packageVersion, parseArgs } from "./measure.mjs";
import { answerTurns } from "./turns.mjs";

const args = parseArgs({ folder: ".", threads: 0 });

await answerTurns({ name: "ort-node", version: packageVersion("onnxruntime-node") }, async (name) => {
  const file = (end) => path.join(args.folder, `${name}.${end}`);
  const floats = (end) => new Float32Array(new Uint8Array(readFileSync(file(end))).buffer);
  if (!existsSync(file("onnx"))) return undefined;
  const session = await ort.InferenceSession.create(file("onnx"), {
    executionProviders: ["cpu"],
    intraOpNumThreads: args.threads || cores(),
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
  });
  const { shape } = JSON.parse(readFileSync(file("json"), "utf8"));
  const feeds = { x: new ort.Tensor("float32", floats("x.bin"), shape) };
  const [output] = session.outputNames;
  const run = async () => (await session.run(feeds))[output].data;
  /** The largest difference, of the largest number. */
  const check = async () => {
    const [theirs, ours] = [await run(), floats("y.bin")];
    let [difference, largest] = [0, 0];
    for (let i = 0; i < ours.length; i++) {
      difference = Math.max(difference, Math.abs(theirs[i] - ours[i]));
      largest = Math.max(largest, Math.abs(ours[i]));
    }
    if (!(theirs.length === ours.length && difference <= 1e-3 * largest))
      throw new Error(`the outputs differ by ${difference}, the largest of them is ${largest}`);
    return difference / largest;
  };
  return { run, check, dispose: () => session.release() };
});
