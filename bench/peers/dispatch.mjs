// What a call costs before any arithmetic counts, on one peer, in microseconds a call.
// Run: node dispatch.mjs --peer jaxjs|jaxjs-eager|tfjs-wasm|tfjs-cpu [--leaves 300 --rounds 12]
// Prints one JSON line a case:
//   read   x + 1 on 16 floats, read back synchronously each call
//   await  the same, awaited each call
//   chain  the same, each result the next argument, read once
//   tree   p - 0.1 * g over the leaves of a tree, 16 floats each, p chained, the whole tree waited for
// TensorFlow.js has no jit; jaxjs is jitted, jaxjs-eager is not.
import { median, packageVersion, parseArgs, report, round } from "./measure.mjs";

const args = parseArgs({ peer: "jaxjs", leaves: 300, rounds: 12 });

async function jaxPeer(jit) {
  const jax = await import("@jax-js/jax");
  const { numpy: np, tree } = jax;
  if (!(await jax.init("wasm")).includes("wasm")) throw new Error("no wasm device");
  jax.defaultDevice("wasm");
  const wrap = (f) => (jit ? jax.jit(f) : f);
  const add = wrap((x) => x.add(1));
  const x = np.array(new Float32Array(16));
  const leaves = (v) => Array.from({ length: args.leaves }, () => np.array(new Float32Array(16).fill(v)));
  const update = wrap((p, g) => tree.map((a, b) => a.sub(b.mul(0.1)), p, g));
  const g = leaves(1);
  let p = leaves(0);
  return {
    version: packageVersion("@jax-js/jax"),
    async read(calls) {
      for (let i = 0; i < calls; i++) add(x.ref).dataSync();
    },
    async await(calls) {
      for (let i = 0; i < calls; i++) {
        const y = add(x.ref);
        await jax.blockUntilReady(y);
        y.dispose();
      }
    },
    async chain(calls) {
      let y = x.ref;
      for (let i = 0; i < calls; i++) y = add(y);
      y.dataSync();
    },
    async tree(calls) {
      for (let i = 0; i < calls; i++) {
        p = update(p, tree.ref(g));
        await jax.blockUntilReady(p);
      }
    },
  };
}

async function tfPeer(backend) {
  const tf = await import("@tensorflow/tfjs");
  if (backend === "wasm") await import("@tensorflow/tfjs-backend-wasm");
  if (!(await tf.setBackend(backend))) throw new Error(`tf.setBackend('${backend}') returned false`);
  await tf.ready();
  const x = tf.tensor1d(new Float32Array(16));
  const add = (t) => tf.tidy(() => t.add(1));
  const leaves = (v) => Array.from({ length: args.leaves }, () => tf.fill([16], v));
  const g = leaves(1);
  let p = leaves(0);
  return {
    version: packageVersion("@tensorflow/tfjs"),
    async read(calls) {
      for (let i = 0; i < calls; i++) {
        const y = add(x);
        y.dataSync();
        y.dispose();
      }
    },
    async await(calls) {
      for (let i = 0; i < calls; i++) {
        const y = add(x);
        await y.data();
        y.dispose();
      }
    },
    async chain(calls) {
      let y = x.clone();
      for (let i = 0; i < calls; i++) {
        const next = add(y);
        y.dispose();
        y = next;
      }
      y.dataSync();
      y.dispose();
    },
    async tree(calls) {
      for (let i = 0; i < calls; i++) {
        const next = tf.tidy(() => p.map((a, n) => a.sub(g[n].mul(0.1))));
        tf.dispose(p);
        p = next;
      }
      await p[0].data();
    },
  };
}

const open = {
  jaxjs: () => jaxPeer(true),
  "jaxjs-eager": () => jaxPeer(false),
  "tfjs-wasm": () => tfPeer("wasm"),
  "tfjs-cpu": () => tfPeer("cpu"),
}[args.peer];
if (!open) throw new Error(`unknown peer ${args.peer}`);

const peer = await open();
for (const [name, calls] of Object.entries({ read: 500, await: 500, chain: 500, tree: 5 })) {
  await peer[name](calls); // warm up, compile
  const times = [];
  for (let r = 0; r < args.rounds; r++) {
    const start = performance.now();
    await peer[name](calls);
    times.push(((performance.now() - start) * 1e3) / calls);
  }
  const figure = { value: round(median(times)), best: round(Math.min(...times)), unit: "us", runs: args.rounds };
  report({ name: args.peer, version: peer.version, case: name, threads: 1, ...figure });
}
process.exit(0);
