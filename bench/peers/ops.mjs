// Common operations and layers on one peer: forward; and forward with the gradient of half the sum of squares by every float input.
// Run: node ops.mjs --peer jaxjs|tfjs-wasm|ort-web
// Asked for a case at a time, `NAME` or `NAME/grad`, as turns.mjs says; its check is the sum of magnitudes of what was computed. ops.json
// has the inputs.
import { readFileSync } from "node:fs";
import path from "node:path";
import { packageVersion, parseArgs } from "./measure.mjs";
import { onnxModel, onnxNode } from "./onnx.mjs";
import { answerTurns } from "./turns.mjs";

const cases = JSON.parse(readFileSync(path.join(import.meta.dirname, "ops.json"), "utf8"));
const size = (dims) => dims.reduce((a, b) => a * b, 1);

/** Numbers between −2 and 2, or above 0: those of bench/src/ops/cases.ts. */
function numbers(seed, dims, { positive }) {
  const out = new Float32Array(size(dims));
  for (let i = 0; i < out.length; i++) {
    const x = ((Math.imul(i + seed * 7919, 0x9e3779b1) >>> 0) / 2 ** 32) * 4 - 2;
    out[i] = positive ? Math.abs(x) + 0.1 : x;
  }
  return out;
}
const indices = (dims, below) => Int32Array.from({ length: size(dims) }, (_, i) => (i * 7919) % below);

async function jaxPeer() {
  const jax = await import("@jax-js/jax");
  const { lax, nn, numpy: np } = jax;
  if (!(await jax.init("wasm")).includes("wasm")) throw new Error("no wasm device");
  jax.defaultDevice("wasm");
  const exact = (x) => nn.gelu(x, { approximate: false });
  const normalized = (x, w, b) => nn.standardize(x, -1, { epsilon: 1e-5 }).mul(w).add(b);
  const window = (x, by) => lax.reduceWindow(x, by, [2, 2], [2, 2]);
  // Every use of an array but the last takes .ref.
  const forward = {
    add: (x, y) => x.add(y),
    mul: (x, y) => x.mul(y),
    maximum: np.maximum,
    where: (x, y, z) => np.where(np.greater(x, 0), y, z),
    exp: np.exp,
    sin: np.sin,
    tanh: np.tanh,
    sigmoid: nn.sigmoid,
    relu: nn.relu,
    gelu: exact,
    silu: nn.silu,
    square: np.square,
    log: np.log,
    sqrt: np.sqrt,
    pow: (x, y) => np.power(x, y),
    bias: (x, b) => x.add(b),
    "scale-rows": (x, c) => x.mul(c),
    sum: (x) => np.sum(x),
    "sum-rows": (x) => np.sum(x, 1),
    "sum-columns": (x) => np.sum(x, 0),
    "mean-rows": (x) => np.mean(x, 1),
    "max-rows": (x) => np.max(x, 1),
    "variance-rows": (x) => np.var_(x, 1),
    "argmax-rows": (x) => np.argmax(x, 1),
    transpose: (x) => np.transpose(x),
    heads: (x) => np.transpose(x, [0, 2, 1, 3]),
    concat: (x, y) => np.concatenate([x, y], 1),
    slice: (x) => x.slice([], [256, 768]),
    pad: (x) => np.pad(x, 1),
    cumsum: (x) => np.cumsum(x, 1),
    sort: (x) => np.sort(x, 1),
    embedding: (w, ids) => np.take(w, ids, 0),
    softmax: (x) => nn.softmax(x, -1),
    "log-softmax": (x) => nn.logSoftmax(x, -1),
    logsumexp: (x) => nn.logsumexp(x, -1),
    "cross-entropy": (x, ids) => np.sum(nn.logSoftmax(x, -1).mul(nn.oneHot(ids, 4096))).mul(-1 / 512),
    "layer-norm": normalized,
    "rms-norm": (x, w) =>
      x.mul(np.reciprocal(np.sqrt(np.mean(np.square(x.ref), -1, { keepdims: true }).add(1e-5)))).mul(w),
    mse: (x, y) => np.mean(np.square(x.sub(y))),
    matmul: np.matmul,
    "matmul-transposed": (x, w) => np.matmul(x, np.transpose(w)),
    "matmul-batched": np.matmul,
    matvec: np.matmul,
    "linear-relu": (x, w, b) => nn.relu(np.matmul(x, w).add(b)),
    mlp: (x, w, b, v, c) => np.matmul(exact(np.matmul(x, w).add(b)), v).add(c),
    swiglu: (x, g, u, d) => np.matmul(nn.silu(np.matmul(x.ref, g)).mul(np.matmul(x, u)), d),
    attention: (q, k, v) => np.matmul(nn.softmax(np.matmul(q, np.swapaxes(k, -1, -2)).mul(0.125), -1), v),
    conv: (x, w) => lax.conv(x, w, [1, 1], "SAME"),
    "conv-strided": (x, w) =>
      lax.conv(
        x,
        w,
        [2, 2],
        [
          [1, 1],
          [1, 1],
        ],
      ),
    "max-pool": (x) => window(x, np.max),
    "average-pool": (x) => window(x, np.mean),
    "batch-norm": (x, w, b) =>
      nn
        .standardize(x, [0, 2, 3], { epsilon: 1e-5 })
        .mul(w.reshape([64, 1, 1]))
        .add(b.reshape([64, 1, 1])),
  };
  const sumAbs = async (arrays) => {
    let sum = 0;
    for (const a of arrays) for (const v of await a.data()) sum += Math.abs(v);
    return sum;
  };
  return {
    name: "jaxjs",
    version: packageVersion("@jax-js/jax"),
    async prepare(name, floats, ids, withGradient) {
      const f = forward[name];
      if (!f) return undefined;
      const inputs = [
        ...floats.map(({ data, dims }) => np.array(data).reshape(dims)),
        ...ids.map(({ data, dims }) => np.array(data, { dtype: np.int32 }).reshape(dims)),
      ];
      await jax.blockUntilReady(inputs);
      const loss = (...xs) => np.sum(np.square(f(...xs))).mul(0.5);
      const g = jax.jit(withGradient ? jax.grad(loss, { argnums: floats.map((_, i) => i) }) : (...xs) => [f(...xs)]);
      const call = () => g(...inputs.map((x) => x.ref));
      return {
        async run() {
          const ys = call();
          await jax.blockUntilReady(ys[0]);
          for (const y of ys) y.dispose();
        },
        check: async () => sumAbs(call()),
        dispose: () => inputs.forEach((x) => x.dispose()),
      };
    },
  };
}

async function tfPeer() {
  const tf = await import("@tensorflow/tfjs");
  await import("@tensorflow/tfjs-backend-wasm");
  if (!(await tf.setBackend("wasm"))) throw new Error("tf.setBackend('wasm') returned false");
  await tf.ready();
  const exact = (x) => x.mul(0.5).mul(x.mul(Math.SQRT1_2).erf().add(1));
  const moments = (x, axes) => tf.moments(x, axes, true);
  const normalized = (x, axes) => {
    const { mean, variance } = moments(x, axes);
    return x.sub(mean).mul(variance.add(1e-5).rsqrt());
  };
  // TensorFlow.js has images with the channels last.
  const last = (x) => tf.transpose(x, [0, 2, 3, 1]);
  const forward = {
    add: tf.add,
    mul: tf.mul,
    maximum: tf.maximum,
    where: (x, y, z) => tf.where(x.greater(0), y, z),
    exp: tf.exp,
    sin: tf.sin,
    tanh: tf.tanh,
    sigmoid: tf.sigmoid,
    relu: tf.relu,
    gelu: exact,
    silu: (x) => x.mul(x.sigmoid()),
    square: tf.square,
    log: tf.log,
    sqrt: tf.sqrt,
    pow: tf.pow,
    bias: tf.add,
    "scale-rows": tf.mul,
    sum: (x) => x.sum(),
    "sum-rows": (x) => x.sum(1),
    "sum-columns": (x) => x.sum(0),
    "mean-rows": (x) => x.mean(1),
    "max-rows": (x) => x.max(1),
    "variance-rows": (x) => tf.moments(x, 1).variance,
    "argmax-rows": (x) => x.argMax(1),
    transpose: (x) => tf.transpose(x),
    heads: (x) => tf.transpose(x, [0, 2, 1, 3]),
    concat: (x, y) => tf.concat([x, y], 1),
    slice: (x) => tf.slice(x, [0, 256], [1024, 512]),
    pad: (x) =>
      tf.pad(x, [
        [1, 1],
        [1, 1],
      ]),
    cumsum: (x) => x.cumsum(1),
    sort: (x) => tf.topk(x, 256).values,
    embedding: (w, ids) => tf.gather(w, ids),
    softmax: (x) => tf.softmax(x),
    "log-softmax": (x) => tf.logSoftmax(x),
    logsumexp: (x) => tf.logSumExp(x, -1),
    "cross-entropy": (x, ids) =>
      tf
        .logSoftmax(x)
        .mul(tf.oneHot(ids, 4096))
        .sum()
        .mul(-1 / 512),
    "layer-norm": (x, w, b) => normalized(x, [-1]).mul(w).add(b),
    "rms-norm": (x, w) => x.mul(x.square().mean(-1, true).add(1e-5).rsqrt()).mul(w),
    mse: (x, y) => x.sub(y).square().mean(),
    matmul: (x, y) => tf.matMul(x, y),
    "matmul-transposed": (x, w) => tf.matMul(x, w, false, true),
    "matmul-batched": (x, y) => tf.matMul(x, y),
    matvec: (x, y) => tf.matMul(x, y),
    "linear-relu": (x, w, b) => tf.matMul(x, w).add(b).relu(),
    mlp: (x, w, b, v, c) => tf.matMul(exact(tf.matMul(x, w).add(b)), v).add(c),
    swiglu: (x, g, u, d) => {
      const gate = tf.matMul(x, g);
      return tf.matMul(gate.mul(gate.sigmoid()).mul(tf.matMul(x, u)), d);
    },
    attention: (q, k, v) => tf.matMul(tf.softmax(tf.matMul(q, k, false, true).mul(0.125)), v),
    conv: (x, w) => tf.conv2d(x, w, 1, "same"),
    "conv-strided": (x, w) => tf.conv2d(x, w, 2, 1),
    "max-pool": (x) => tf.maxPool(x, 2, 2, "valid"),
    "average-pool": (x) => tf.avgPool(x, 2, 2, "valid"),
    "batch-norm": (x, w, b) => normalized(x, [0, 1, 2]).mul(w).add(b),
  };
  const images = new Set(["conv", "conv-strided", "max-pool", "average-pool", "batch-norm"]);
  const sumAbs = async (tensors) => {
    let sum = 0;
    for (const t of tensors) for (const v of await t.data()) sum += Math.abs(v);
    return sum;
  };
  return {
    name: "tfjs-wasm",
    version: packageVersion("@tensorflow/tfjs"),
    async prepare(name, floats, ids, withGradient) {
      const f = forward[name];
      if (!f) return undefined;
      const xs = floats.map(({ data, dims }) => tf.tensor(data, dims));
      if (images.has(name)) {
        xs[0] = last(xs[0]);
        if (xs[1]?.rank === 4) xs[1] = tf.transpose(xs[1], [2, 3, 1, 0]);
      }
      const ns = ids.map(({ data, dims }) => tf.tensor(data, dims, "int32"));
      const g = tf.grads((...vs) =>
        f(...vs, ...ns)
          .square()
          .sum()
          .mul(0.5),
      );
      const call = () => tf.tidy(() => (withGradient ? g(xs) : [f(...xs, ...ns)]));
      return {
        run: async () => tf.dispose(call()), // the wasm backend finishes inside the call
        check: async () => sumAbs(call()),
        dispose: () => tf.dispose([...xs, ...ns]),
      };
    },
  };
}

/** The nodes of a model over x0, x1 …, the last of which makes y. */
const onnx = {
  ...Object.fromEntries(
    Object.entries({ add: "Add", mul: "Mul", maximum: "Max", pow: "Pow", bias: "Add", "scale-rows": "Mul" }).map(
      ([name, op]) => [name, () => [onnxNode(op, ["x0", "x1"], ["y"])]],
    ),
  ),
  ...Object.fromEntries(
    Object.entries({
      exp: "Exp",
      sin: "Sin",
      tanh: "Tanh",
      sigmoid: "Sigmoid",
      relu: "Relu",
      log: "Log",
      sqrt: "Sqrt",
    }).map(([name, op]) => [name, () => [onnxNode(op, ["x0"], ["y"])]]),
  ),
  square: () => [onnxNode("Mul", ["x0", "x0"], ["y"])],
  silu: () => [onnxNode("Sigmoid", ["x0"], ["s"]), onnxNode("Mul", ["x0", "s"], ["y"])],
  "max-rows": () => [onnxNode("ReduceMax", ["x0"], ["y"], { axes: [1], keepdims: 0 })],
  "mean-rows": () => [onnxNode("ReduceMean", ["x0"], ["y"], { axes: [1], keepdims: 0 })],
  sum: () => [onnxNode("ReduceSum", ["x0"], ["y"], { keepdims: 0 })],
  logsumexp: () => [onnxNode("ReduceLogSumExp", ["x0"], ["y"], { axes: [1], keepdims: 0 })],
  transpose: () => [onnxNode("Transpose", ["x0"], ["y"], { perm: [1, 0] })],
  heads: () => [onnxNode("Transpose", ["x0"], ["y"], { perm: [0, 2, 1, 3] })],
  concat: () => [onnxNode("Concat", ["x0", "x1"], ["y"], { axis: 1 })],
  embedding: () => [onnxNode("Gather", ["x0", "x1"], ["y"], { axis: 0 })],
  softmax: () => [onnxNode("Softmax", ["x0"], ["y"], { axis: -1 })],
  "log-softmax": () => [onnxNode("LogSoftmax", ["x0"], ["y"], { axis: -1 })],
  "layer-norm": () => [onnxNode("LayerNormalization", ["x0", "x1", "x2"], ["y"], { axis: -1 })],
  matmul: () => [onnxNode("MatMul", ["x0", "x1"], ["y"])],
  "matmul-batched": () => [onnxNode("MatMul", ["x0", "x1"], ["y"])],
  matvec: () => [onnxNode("MatMul", ["x0", "x1"], ["y"])],
  "matmul-transposed": () => [onnxNode("Gemm", ["x0", "x1"], ["y"], { transB: 1 })],
  "linear-relu": () => [onnxNode("Gemm", ["x0", "x1", "x2"], ["s"]), onnxNode("Relu", ["s"], ["y"])],
  swiglu: () => [
    onnxNode("MatMul", ["x0", "x1"], ["g"]),
    onnxNode("Sigmoid", ["g"], ["s"]),
    onnxNode("Mul", ["g", "s"], ["a"]),
    onnxNode("MatMul", ["x0", "x2"], ["u"]),
    onnxNode("Mul", ["a", "u"], ["h"]),
    onnxNode("MatMul", ["h", "x3"], ["y"]),
  ],
  conv: () => [onnxNode("Conv", ["x0", "x1"], ["y"], { pads: [1, 1, 1, 1] })],
  "conv-strided": () => [onnxNode("Conv", ["x0", "x1"], ["y"], { pads: [1, 1, 1, 1], strides: [2, 2] })],
  "max-pool": () => [onnxNode("MaxPool", ["x0"], ["y"], { kernel_shape: [2, 2], strides: [2, 2] })],
  "average-pool": () => [onnxNode("AveragePool", ["x0"], ["y"], { kernel_shape: [2, 2], strides: [2, 2] })],
};

async function ortPeer() {
  const ort = (await import("onnxruntime-web")).default;
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  return {
    name: "ort-web",
    version: packageVersion("onnxruntime-web"),
    async prepare(name, floats, ids, withGradient) {
      if (withGradient || !onnx[name]) return undefined;
      const inputs = [...floats, ...ids].map(({ dims }, i) => [`x${i}`, dims, i < floats.length ? 1 : 6]);
      const model = onnxModel({ nodes: onnx[name](), inputs, outputs: [["y", undefined, 1]] });
      const session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
      const feeds = Object.fromEntries(
        [...floats, ...ids].map(({ data, dims }, i) => [
          `x${i}`,
          new ort.Tensor(i < floats.length ? "float32" : "int32", data, dims),
        ]),
      );
      return {
        run: async () => (await session.run(feeds)).y.dispose(),
        check: async () => (await session.run(feeds)).y.data.reduce((sum, v) => sum + Math.abs(v), 0),
        dispose: () => session.release(),
      };
    },
  };
}

const { peer: which } = parseArgs({ peer: "jaxjs" });
const open = { jaxjs: jaxPeer, "tfjs-wasm": tfPeer, "ort-web": ortPeer }[which];
if (!open) throw new Error(`unknown peer ${which}`);

const peer = await open();
await answerTurns(peer, (of) => {
  const [name, gradient] = of.split("/");
  const { inputs, ids, below, ...kind } = cases[name];
  const floats = inputs.map((dims, i) => ({ dims, data: numbers(i + 1, dims, kind) }));
  const whole = ids ? [{ dims: ids, data: indices(ids, below) }] : [];
  return peer.prepare(name, floats, whole, gradient !== undefined);
});
