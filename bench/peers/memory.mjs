// What chains of operations on one 4 MB array take in memory beyond their input and their result, on one peer, in MB: how far the
// library's WebAssembly memories grow over 5 calls whose results are disposed of, less one result.
// Run: node memory.mjs --peer jaxjs|jaxjs-eager|tfjs-wasm [--case chain|chain-grad|softmax-chain]
// One case a process: memory that has grown stays.
import { packageVersion, parseArgs, report, round } from "./measure.mjs";

const args = parseArgs({ peer: "jaxjs", case: "chain" });
const side = 1024;
const megabytes = (side * side * 4) / 2 ** 20;

/** Every WebAssembly.Memory made from here on: the libraries keep theirs to themselves. */
const memories = [];
WebAssembly.Memory = new Proxy(WebAssembly.Memory, {
  construct(target, given) {
    const memory = new target(...given);
    memories.push(memory);
    return memory;
  },
});

/** The same 24 operations as bench/src/memory-case.ts: `round` is four of them. */
function chain(x, round) {
  let y = x;
  for (let i = 0; i < 6; i++) y = round(y);
  return y;
}

async function jaxPeer(jit) {
  const jax = await import("@jax-js/jax");
  const { numpy: np, nn } = jax;
  if (!(await jax.init("wasm")).includes("wasm")) throw new Error("no wasm device");
  jax.defaultDevice("wasm");
  // Operations use their arguments up, so the input is given once more each time.
  const whole = (x) => {
    const y = chain(x.ref, (y) => np.tanh(y.mul(0.9).add(0.1)).sub(x.ref));
    x.dispose();
    return y;
  };
  const softmaxes = (x) => {
    let y = x;
    for (let i = 0; i < 24; i++) y = nn.softmax(y, -1);
    return y;
  };
  const f = { chain: whole, "chain-grad": jax.grad((x) => np.sum(whole(x))), "softmax-chain": softmaxes }[args.case];
  const run = jit ? jax.jit(f) : f;
  const x = np.array(source()).reshape([side, side]);
  await jax.blockUntilReady(x);
  return {
    version: packageVersion("@jax-js/jax"),
    linear: () => memories.reduce((sum, m) => sum + m.buffer.byteLength, 0),
    async call() {
      const y = run(x.ref);
      await jax.blockUntilReady(y);
      y.dispose();
    },
  };
}

async function tfPeer() {
  const tf = await import("@tensorflow/tfjs");
  await import("@tensorflow/tfjs-backend-wasm");
  if (!(await tf.setBackend("wasm"))) throw new Error("tf.setBackend('wasm') returned false");
  await tf.ready();
  const whole = (x) => chain(x, (y) => y.mul(0.9).add(0.1).tanh().sub(x));
  const softmaxes = (x) => {
    let y = x;
    for (let i = 0; i < 24; i++) y = tf.softmax(y, -1);
    return y;
  };
  const f = {
    chain: whole,
    "chain-grad": tf.grad((x) => whole(x).sum()),
    "softmax-chain": softmaxes,
  }[args.case];
  const x = tf.tensor2d(source(), [side, side]);
  await x.data();
  return {
    version: packageVersion("@tensorflow/tfjs"),
    linear: () => tf.backend().wasm.HEAPU8.buffer.byteLength,
    async call() {
      const y = tf.tidy(() => f(x));
      await y.data();
      y.dispose();
    },
  };
}

const source = () => Float32Array.from({ length: side * side }, (_, i) => Math.sin(i));

const peer = args.peer === "tfjs-wasm" ? await tfPeer() : await jaxPeer(args.peer === "jaxjs");
const before = peer.linear();
for (let i = 0; i < 5; i++) await peer.call();
const grown = (peer.linear() - before) / 2 ** 20 - megabytes;
// A heap that had room to spare when it was measured grows by less than what is used; nothing is below a page.
report({
  name: args.peer,
  version: peer.version,
  case: args.case,
  threads: 1,
  value: round(Math.max(grown, 1 / 16)),
  unit: "MB",
  runs: 5,
});
process.exit(0);
