// f32 matrix multiplication on one peer: square matrices, and on ONNX Runtime any.
// Run: node matmul.mjs --peer jaxjs|tfjs-wasm|tfjs-cpu|ort-node|ort-web [--shapes 512:512x512x512:nn] [--threads N]
// A shape is NAME:MxNxK:LAYOUT; the layout says for each operand whether it is stored as it is (n) or transposed (t).
// Answers lines as turns.mjs says, a case being a shape's name. --threads 0 (the default) is what the peer does by itself in Node.
import { cores, normal, packageVersion, parseArgs } from "./measure.mjs";
import { installNodeWorker } from "./node-worker.mjs";
import { onnxModel, onnxNode } from "./onnx.mjs";
import { answerTurns } from "./turns.mjs";

const peers = {
  async jaxjs(threads) {
    if (threads > 1) installNodeWorker(threads);
    const jax = await import("@jax-js/jax");
    const have = await jax.init("wasm");
    if (!have.includes("wasm")) throw new Error(`no wasm device, only ${have}`);
    jax.defaultDevice("wasm");
    const multiply = jax.jit((a, b) => jax.numpy.matmul(a, b));
    return {
      version: packageVersion("@jax-js/jax"),
      async prepare({ n }, a, b) {
        const x = jax.numpy.array(a).reshape([n, n]),
          y = jax.numpy.array(b).reshape([n, n]);
        await jax.blockUntilReady([x, y]);
        return {
          async run() {
            const c = multiply(x.ref, y.ref);
            await jax.blockUntilReady(c);
            c.dispose();
          },
          result: async () => multiply(x.ref, y.ref).data(),
          dispose: () => [x, y].forEach((t) => t.dispose()),
        };
      },
    };
  },

  async tfjs(threads, backend) {
    const tf = await import("@tensorflow/tfjs");
    if (backend === "wasm") {
      const wasm = await import("@tensorflow/tfjs-backend-wasm");
      if (threads > 1) {
        tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", true); // off in Node; see README
        wasm.setThreadsCount(threads);
      }
      if (!(await tf.setBackend("wasm"))) throw new Error("tf.setBackend('wasm') returned false");
      await tf.ready();
    } else await tf.setBackend("cpu");
    return {
      version: packageVersion("@tensorflow/tfjs"),
      async prepare({ n }, a, b) {
        const x = tf.tensor2d(a, [n, n]),
          y = tf.tensor2d(b, [n, n]);
        return {
          run: async () => tf.matMul(x, y).dispose(), // both backends finish the product inside the call
          result: async () => tf.matMul(x, y).data(),
          dispose: () => tf.dispose([x, y]),
        };
      },
    };
  },

  async ort(threads, name) {
    const ort = await import(name);
    const api = ort.default ?? ort;
    if (name === "onnxruntime-web") {
      api.env.wasm.numThreads = threads || cores();
      api.env.logLevel = "error";
    }
    return {
      version: packageVersion(name),
      async prepare({ m, n, k, layout }, a, b) {
        const [left, right] = [...layout].map((c) => (c === "t" ? 1 : 0));
        const [dimsA, dimsB] = [left ? [k, m] : [m, k], right ? [n, k] : [k, n]];
        const node =
          left || right
            ? onnxNode("Gemm", ["a", "b"], ["c"], { transA: left, transB: right })
            : onnxNode("MatMul", ["a", "b"], ["c"]);
        const model = onnxModel({
          nodes: [node],
          inputs: [
            ["a", dimsA, 1],
            ["b", dimsB, 1],
          ],
          outputs: [["c", [m, n], 1]],
        });
        const session = await api.InferenceSession.create(new Uint8Array(model), {
          executionProviders: [name === "onnxruntime-web" ? "wasm" : "cpu"],
          intraOpNumThreads: threads || cores(),
        });
        const feeds = { a: new api.Tensor("float32", a, dimsA), b: new api.Tensor("float32", b, dimsB) };
        return {
          run: async () => (await session.run(feeds)).c.dispose(),
          result: async () => (await session.run(feeds)).c.data,
          dispose: () => session.release(),
        };
      },
    };
  },
};

const args = parseArgs({ shapes: "512:512x512x512:nn", peer: "jaxjs", threads: 0 });
const open = {
  jaxjs: () => peers.jaxjs(args.threads),
  "tfjs-wasm": () => peers.tfjs(args.threads, "wasm"),
  "tfjs-cpu": () => peers.tfjs(args.threads, "cpu"),
  "ort-node": () => peers.ort(args.threads, "onnxruntime-node"),
  "ort-web": () => peers.ort(args.threads, "onnxruntime-web"),
}[args.peer];
if (!open) throw new Error(`unknown peer ${args.peer}`);

const peer = await open();
const shapes = new Map(args.shapes.split(",").map((text) => [text.split(":")[0], text.split(":").slice(1)]));

await answerTurns({ name: args.peer, version: peer.version }, async (name) => {
  if (!shapes.has(name)) return undefined;
  const [sizes, layout] = shapes.get(name);
  const [m, n, k] = sizes.split("x").map(Number);
  const a = normal(1, m * k),
    b = normal(2, k * n);
  const bench = await peer.prepare({ m, n, k, layout }, a, b);
  const left = (i, l) => (layout[0] === "t" ? a[l * m + i] : a[i * k + l]);
  const right = (l, j) => (layout[1] === "t" ? b[j * k + l] : b[l * n + j]);
  /** The largest error, against f64 dot products at a few places. */
  const check = async () => {
    const c = await bench.result();
    let most = 0;
    for (let s = 0; s < 64; s++) {
      const i = (s * 7919) % m,
        j = (s * 104729) % n;
      let dot = 0;
      for (let l = 0; l < k; l++) dot += left(i, l) * right(l, j);
      most = Math.max(most, Math.abs(dot - c[i * n + j]) / Math.sqrt(k));
    }
    if (!(most < 1e-4)) throw new Error(`${name}: wrong product, relative error ${most}`);
    return most;
  };
  return { run: bench.run, check, dispose: bench.dispose };
});
