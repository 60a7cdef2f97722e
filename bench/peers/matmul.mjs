// f32 square matrix multiplication on one peer.
// Run: node matmul.mjs --peer jaxjs|tfjs-wasm|tfjs-cpu|ort-node|ort-web [--size 512,1024] [--threads N] [--seconds 2]
// Prints one JSON line a size, in GFLOP/s. --threads 0 (the default) is what the peer does by itself in Node.
import { cores, median, normal, packageVersion, parseArgs, report, round, timeCalls } from "./measure.mjs";
import { installNodeWorker } from "./node-worker.mjs";
import { onnxModel, onnxNode } from "./onnx.mjs";

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
      threads: threads > 1 ? threads : 1,
      note: threads > 1 ? "Worker shim" : undefined,
      async prepare(n, a, b) {
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
    let used = 1,
      note;
    if (backend === "wasm") {
      const wasm = await import("@tensorflow/tfjs-backend-wasm");
      if (threads > 1) {
        tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", true); // off in Node; see README
        wasm.setThreadsCount(threads);
        note = "multithread flag forced";
      }
      if (!(await tf.setBackend("wasm"))) throw new Error("tf.setBackend('wasm') returned false");
      await tf.ready();
      used = wasm.getThreadsCount();
    } else await tf.setBackend("cpu");
    return {
      version: packageVersion("@tensorflow/tfjs"),
      threads: used,
      note,
      async prepare(n, a, b) {
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
      threads: threads || cores(),
      async prepare(n, a, b) {
        const model = onnxModel({
          nodes: [onnxNode("MatMul", ["a", "b"], ["c"])],
          inputs: [
            ["a", [n, n], 1],
            ["b", [n, n], 1],
          ],
          outputs: [["c", [n, n], 1]],
        });
        const session = await api.InferenceSession.create(new Uint8Array(model), {
          executionProviders: [name === "onnxruntime-web" ? "wasm" : "cpu"],
          intraOpNumThreads: threads || cores(),
        });
        const feeds = { a: new api.Tensor("float32", a, [n, n]), b: new api.Tensor("float32", b, [n, n]) };
        return {
          run: async () => (await session.run(feeds)).c.dispose(),
          result: async () => (await session.run(feeds)).c.data,
          dispose: () => session.release(),
        };
      },
    };
  },
};

const args = parseArgs({ size: "512,1024", peer: "jaxjs", threads: 0, seconds: 2 });
const open = {
  jaxjs: () => peers.jaxjs(args.threads),
  "tfjs-wasm": () => peers.tfjs(args.threads, "wasm"),
  "tfjs-cpu": () => peers.tfjs(args.threads, "cpu"),
  "ort-node": () => peers.ort(args.threads, "onnxruntime-node"),
  "ort-web": () => peers.ort(args.threads, "onnxruntime-web"),
}[args.peer];
if (!open) throw new Error(`unknown peer ${args.peer}`);

const peer = await open();
for (const n of args.size.split(",").map(Number)) {
  const a = normal(1, n * n),
    b = normal(2, n * n);
  const bench = await peer.prepare(n, a, b);
  const c = await bench.result();
  let maxError = 0; // against f64 dot products at a few places
  for (let s = 0; s < 64; s++) {
    const i = (s * 7919) % n,
      j = (s * 104729) % n;
    let dot = 0;
    for (let k = 0; k < n; k++) dot += a[i * n + k] * b[k * n + j];
    maxError = Math.max(maxError, Math.abs(dot - c[i * n + j]) / Math.sqrt(n));
  }
  if (!(maxError < 1e-4)) throw new Error(`${args.peer} size ${n}: wrong product, relative error ${maxError}`);
  const times = await timeCalls(bench.run, { minSeconds: args.seconds });
  const gflops = (seconds) => round((2 * n ** 3) / seconds / 1e9);
  report({
    name: args.peer,
    version: peer.version,
    case: String(n),
    threads: peer.threads,
    value: gflops(median(times)),
    best: gflops(Math.min(...times)),
    unit: "GFLOP/s",
    runs: times.length,
    note: peer.note,
    maxError: round(maxError, 2),
  });
  await bench.dispose();
}
process.exit(0);
