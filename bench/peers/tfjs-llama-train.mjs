// TensorFlow.js peer for the training benchmark: one AdamW step of the small LLaMA of torch-llama-train.py, f32.
// Run: node tfjs-llama-train.mjs [--backend wasm|cpu --dim 256 --layers 6 --heads 8 --vocab 4096 --seq 256 --batch 8 --steps 8]
// Prints one JSON line: tokens per second, first losses, parameters, peak RSS.
// --products fast (the default on wasm) works around the backend's slow products: it has a fast kernel only for one unbatched
// product without transposed operands, and tf.matMul's own gradient asks for transposed ones. --products plain is tf.matMul as it is.
import { median, packageVersion, parseArgs, peakRssMb, report, round } from "./measure.mjs";
import { adamw, countParams, defaults, initialParams, mapTree, ropeTables, tokens } from "./llama.mjs";

const args = parseArgs({ ...defaults, backend: "wasm", products: "auto" });
const tf = await import("@tensorflow/tfjs");
if (args.backend === "wasm") await import("@tensorflow/tfjs-backend-wasm");
if (!(await tf.setBackend(args.backend))) throw new Error(`tf.setBackend('${args.backend}') returned false`);
await tf.ready();

const { dim, heads, seq, batch, vocab } = args;
const headDim = dim / heads;
const rows = batch * seq;
const has = (kernel) => tf.getKernel(kernel, args.backend) != null;
const fast = args.products === "auto" ? args.backend === "wasm" : args.products === "fast";

const rmsNorm = (x, weight) => x.mul(x.square().mean(-1, true).add(1e-5).rsqrt()).mul(weight);

// tf.customGrad runs gradFunc outside any scope of its own: without tf.tidy its temporaries would live to the end of the step.
const fastProject = tf.customGrad((x, w, save) => {
  save([x, w]);
  return {
    value: tf.matMul(x, w),
    gradFunc: (dy, [a, b]) => tf.tidy(() => [tf.matMul(dy, tf.transpose(b)), tf.matMul(tf.transpose(a), dy)]),
  };
});
const project = (x, w) => (fast ? fastProject(x, w) : tf.matMul(x, w)); // x: [rows, in]

// Halving: every tf.slice on this backend copies its whole input first, so N slices of one tensor would cost N whole copies.
function pieces(t) {
  // [N, n, k] -> N x [n, k]
  const [N, n, k] = t.shape;
  if (N === 1) return [t.reshape([n, k])];
  const h = N >> 1;
  return [...pieces(tf.slice(t, [0, 0, 0], [h, n, k])), ...pieces(tf.slice(t, [h, 0, 0], [N - h, n, k]))];
}

function sliceBySlice(a, b) {
  // [N, n, k] by [N, k, m], one unbatched product at a time
  const bs = pieces(b);
  return tf.stack(pieces(a).map((x, i) => tf.matMul(x, bs[i])));
}

const fastBatched = tf.customGrad((a, b, save) => {
  save([a, b]);
  return {
    value: sliceBySlice(a, b),
    gradFunc: (dy, [x, y]) =>
      tf.tidy(() => [sliceBySlice(dy, tf.transpose(y, [0, 2, 1])), sliceBySlice(tf.transpose(x, [0, 2, 1]), dy)]),
  };
});

function batched(a, b) {
  // [B, H, n, k] by [B, H, k, m]
  if (!fast) return tf.matMul(a, b);
  const [B, H, n, k] = a.shape,
    m = b.shape[3];
  return fastBatched(a.reshape([B * H, n, k]), b.reshape([B * H, k, m])).reshape([B, H, n, m]);
}

// tf.gather's gradient runs UnsortedSegmentSum; the wasm backend lacks it, so there the gradient is a product with one-hot columns.
const lookupOneHot = tf.customGrad((table, ids, save) => {
  save([ids]);
  return {
    value: tf.gather(table, ids),
    gradFunc: (dy, [i]) =>
      tf.tidy(() => [tf.matMul(tf.transpose(tf.oneHot(i, vocab).cast("float32")), dy), tf.zerosLike(i)]),
  };
});
const lookup = has("UnsortedSegmentSum") ? (table, ids) => tf.gather(table, ids) : lookupOneHot;

function rope(x, cos, sin) {
  // x: [B, H, T, d]
  const [a, b] = tf.split(x, 2, -1);
  return x.mul(cos).add(tf.concat([b.neg(), a], -1).mul(sin));
}

function block(p, x, { cos, sin, bias }) {
  // x: [rows, dim]
  const split = (t) => t.reshape([batch, seq, heads, headDim]).transpose([0, 2, 1, 3]);
  let h = rmsNorm(x, p.n1);
  const q = rope(split(project(h, p.q)), cos, sin),
    k = rope(split(project(h, p.k)), cos, sin),
    v = split(project(h, p.v));
  const s = (fast ? batched(q, k.transpose([0, 1, 3, 2])) : tf.matMul(q, k, false, true))
    .mul(1 / Math.sqrt(headDim))
    .add(bias);
  const a = batched(tf.softmax(s, -1), v);
  x = x.add(project(a.transpose([0, 2, 1, 3]).reshape([rows, dim]), p.o));
  h = rmsNorm(x, p.n2);
  const gate = project(h, p.gate);
  return x.add(project(gate.mul(gate.sigmoid()).mul(project(h, p.up)), p.down));
}

function lossFn(p, data, consts) {
  let x = lookup(p.embed, data.input);
  for (const b of p.blocks) x = block(b, x, consts);
  const logits = project(rmsNorm(x, p.norm), p.head);
  return tf
    .logSoftmax(logits, -1)
    .mul(tf.oneHot(data.target, vocab))
    .sum()
    .mul(-1 / rows);
}

const init = initialParams(args);
const params = countParams(init);
const isVariable = (x) => x instanceof tf.Variable;
const asVariables = (make) => mapTree(make, init);
const p = asVariables((x) => tf.variable(tf.tensor(x.data, x.shape)));
const flat = [];
const collect = (t) => (isVariable(t) ? flat.push(t) : Object.values(t).forEach(collect));
collect(p);
const m = flat.map((x) => tf.zerosLike(x)),
  v = flat.map((x) => tf.zerosLike(x));
const raw = tokens(args),
  tables = ropeTables(args);
const data = { input: tf.tensor1d(raw.input, "int32"), target: tf.tensor1d(raw.target, "int32") };
const biasData = new Float32Array(seq * seq);
for (let i = 0; i < seq; i++) for (let j = i + 1; j < seq; j++) biasData[i * seq + j] = -1e9;
const consts = {
  cos: tf.tensor(tables.cos, [seq, headDim]),
  sin: tf.tensor(tables.sin, [seq, headDim]),
  bias: tf.tensor(biasData, [seq, seq]),
};

function step(i) {
  // returns the loss before the update; tf.train has no AdamW, so it is written out
  return tf.tidy(() => {
    const { value, grads } = tf.variableGrads(() => lossFn(p, data, consts), flat);
    const { lr, b1, b2, eps, decay } = adamw;
    const c1 = 1 - b1 ** i,
      c2 = 1 - b2 ** i;
    flat.forEach((w, n) => {
      const g = grads[w.name];
      const m2 = m[n].mul(b1).add(g.mul(1 - b1)),
        v2 = v[n].mul(b2).add(g.square().mul(1 - b2));
      w.assign(w.mul(1 - lr * decay).sub(m2.div(c1).mul(lr).div(v2.div(c2).sqrt().add(eps))));
      tf.dispose([m[n], v[n]]);
      m[n] = tf.keep(m2);
      v[n] = tf.keep(v2);
    });
    return value;
  });
}

const losses = [],
  times = [];
for (let i = 1; i <= args.steps; i++) {
  const t = performance.now();
  const loss = step(i);
  losses.push((await loss.data())[0]);
  loss.dispose();
  times.push((performance.now() - t) / 1000);
}
const timed = times.length > 2 ? times.slice(2) : times;
const tokensPerSecond = (seconds) => round((batch * seq) / seconds);
report({
  name: `tfjs-${args.backend}`,
  version: packageVersion("@tensorflow/tfjs"),
  case: "step",
  threads: 1,
  value: tokensPerSecond(median(timed)),
  best: tokensPerSecond(Math.min(...timed)),
  unit: "tokens/s",
  products: fast ? "fast" : "plain",
  firstStepSeconds: round(times[0]),
  losses: losses.slice(0, 4),
  params,
  peakRssMb: peakRssMb(),
});
process.exit(0);
