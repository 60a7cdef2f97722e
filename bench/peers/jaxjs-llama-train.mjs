// jax-js peer for the training benchmark: one AdamW step of the small LLaMA of torch-llama-train.py, f32, wasm device.
// Run: node jaxjs-llama-train.mjs [--dim 256 --layers 6 --heads 8 --vocab 4096 --seq 256 --batch 8 --steps 8 --threads 0 --eager]
// Prints one JSON line: tokens per second, first losses, parameters, peak RSS. --threads N > 1 gives the library a Worker,
// which Node lacks; without one it runs on a single thread. --eager leaves out jit.
import { median, packageVersion, parseArgs, peakRssMb, report, round } from "./measure.mjs";
import { adamw, countParams, defaults, initialParams, mapTree, ropeTables, tokens } from "./llama.mjs";
import { installNodeWorker } from "./node-worker.mjs";

const args = parseArgs({ ...defaults, threads: 0, eager: false });
if (args.threads > 1) installNodeWorker(args.threads);
const jax = await import("@jax-js/jax");
const { numpy: np, nn, lax, tree } = jax;
if (!(await jax.init("wasm")).includes("wasm")) throw new Error("no wasm device");
jax.defaultDevice("wasm");

const { dim, heads, seq, batch, vocab } = args;
const headDim = dim / heads,
  half = headDim / 2;

// jax-js counts references: every use of an array but the last takes .ref
function rmsNorm(x, weight) {
  const scale = np.reciprocal(np.sqrt(np.mean(np.square(x.ref), -1, { keepdims: true }).add(1e-5)));
  return x.mul(scale).mul(weight);
}

function rope(x, cos, sin) {
  // x: [B, H, T, d]
  const a = x.ref.slice([], [], [], [0, half]),
    b = x.ref.slice([], [], [], [half, headDim]);
  return x.mul(cos).add(np.concatenate([np.negative(b), a], -1).mul(sin));
}

function attention(q, k, v, mask) {
  const s = np.matmul(q, np.swapaxes(k, -1, -2)).mul(1 / Math.sqrt(headDim));
  return np.matmul(nn.softmax(np.where(mask, s, -1e30), -1), v);
}

function block(p, x, { cos, sin, mask }) {
  const split = (t) => t.reshape([batch, seq, heads, headDim]).transpose([0, 2, 1, 3]);
  let h = rmsNorm(x.ref, p.n1);
  const q = rope(split(np.matmul(h.ref, p.q)), cos.ref, sin.ref);
  const k = rope(split(np.matmul(h.ref, p.k)), cos, sin);
  const v = split(np.matmul(h, p.v));
  const a = attention(q, k, v, mask);
  x = x.add(np.matmul(a.transpose([0, 2, 1, 3]).reshape([batch, seq, dim]), p.o));
  h = rmsNorm(x.ref, p.n2);
  return x.add(np.matmul(nn.silu(np.matmul(h.ref, p.gate)).mul(np.matmul(h, p.up)), p.down));
}

function lossFn(p, batchData, consts) {
  let x = np.take(p.embed, batchData.input, 0);
  for (const b of p.blocks) x = block(b, x, tree.ref(consts));
  tree.dispose(consts);
  const logits = np.matmul(rmsNorm(x, p.norm), p.head).reshape([batch * seq, vocab]);
  const logp = nn.logSoftmax(logits, -1);
  // Not takeAlongAxis: its gradient fails under jit in 0.1.25 where the cotangent is a constant.
  return np.sum(logp.mul(nn.oneHot(batchData.target.reshape([batch * seq]), vocab)).mul(batchData.weight));
}

function stepFn({ p, m, v }, c1, c2, batchData, consts) {
  const [loss, g] = jax.valueAndGrad(lossFn)(tree.ref(p), batchData, consts);
  const { lr, b1, b2, eps, decay } = adamw;
  const m2 = tree.map((a, d) => a.mul(b1).add(d.mul(1 - b1)), m, tree.ref(g));
  const v2 = tree.map((a, d) => a.mul(b2).add(np.square(d).mul(1 - b2)), v, g);
  const p2 = tree.map(
    (w, a, b) =>
      w.mul(1 - lr * decay).sub(
        a
          .div(c1.ref)
          .mul(lr)
          .div(np.sqrt(b.div(c2.ref)).add(eps)),
      ),
    p,
    tree.ref(m2),
    tree.ref(v2),
  );
  c1.dispose();
  c2.dispose();
  return { state: { p: p2, m: m2, v: v2 }, loss };
}

const init = initialParams(args);
const params = countParams(init);
let state = {
  p: mapTree((x) => np.array(x.data).reshape(x.shape), init),
  m: mapTree((x) => np.zeros(x.shape), init),
  v: mapTree((x) => np.zeros(x.shape), init),
};
const data = tokens(args),
  tables = ropeTables(args);
const batchData = {
  input: np.array(data.input, { dtype: np.int32 }).reshape([batch, seq]),
  target: np.array(data.target, { dtype: np.int32 }).reshape([batch, seq]),
  weight: np.full([batch * seq, 1], -1 / (batch * seq)),
};
const consts = {
  cos: np.array(tables.cos).reshape([seq, headDim]),
  sin: np.array(tables.sin).reshape([seq, headDim]),
  mask: np.tri(seq, seq, 0, { dtype: np.bool }),
};
await jax.blockUntilReady([state, batchData, consts]);

const step = args.eager ? stepFn : jax.jit(stepFn);
const losses = [],
  times = [];
for (let i = 1; i <= args.steps; i++) {
  const t = performance.now();
  const out = step(
    state,
    np.array(1 - adamw.b1 ** i),
    np.array(1 - adamw.b2 ** i),
    tree.ref(batchData),
    tree.ref(consts),
  );
  state = out.state;
  // One leaf is enough under jit: every output carries all the call's kernels, and waiting for the whole tree costs far more.
  await jax.blockUntilReady(args.eager ? state : state.p.norm);
  losses.push((await out.loss.data())[0]);
  times.push((performance.now() - t) / 1000);
}
const timed = times.length > 2 ? times.slice(2) : times;
const tokensPerSecond = (seconds) => round((batch * seq) / seconds);
report({
  name: `jaxjs${args.eager ? "-eager" : ""}${args.threads > 1 ? "-worker" : ""}`,
  version: packageVersion("@jax-js/jax"),
  case: "step",
  threads: args.threads > 1 ? args.threads : 1,
  value: tokensPerSecond(median(timed)),
  best: tokensPerSecond(Math.min(...timed)),
  unit: "tokens/s",
  firstStepSeconds: round(times[0]),
  losses: losses.slice(0, 4),
  params,
  peakRssMb: peakRssMb(),
});
process.exit(0);
