// The model of torch-llama-train.py, described once for the JavaScript peers: sizes, initial weights, RoPE tables, tokens.
// Weights are stored [in, out] (PyTorch: [out, in]); the values follow PyTorch's default initialisation, from a fixed seed.
import { normal, rng, uniform } from "./measure.mjs";

export const defaults = { dim: 256, layers: 6, heads: 8, vocab: 4096, seq: 256, batch: 8, steps: 8 };
export const adamw = { lr: 3e-4, b1: 0.9, b2: 0.999, eps: 1e-8, decay: 0.01 };

/** { shape, data } leaves in the tree { embed, blocks: [{ n1, n2, q, k, v, o, gate, up, down }], norm, head }. */
export function initialParams({ dim, layers, vocab }) {
  const hidden = Math.floor((Math.floor((8 * dim) / 3) + 31) / 32) * 32;
  let seed = 100;
  const linear = (i, o) => ({ shape: [i, o], data: uniform(seed++, i * o, 1 / Math.sqrt(i)) });
  const ones = () => ({ shape: [dim], data: new Float32Array(dim).fill(1) });
  return {
    embed: { shape: [vocab, dim], data: normal(seed++, vocab * dim) },
    blocks: Array.from({ length: layers }, () => ({
      n1: ones(),
      n2: ones(),
      q: linear(dim, dim),
      k: linear(dim, dim),
      v: linear(dim, dim),
      o: linear(dim, dim),
      gate: linear(dim, hidden),
      up: linear(dim, hidden),
      down: linear(hidden, dim),
    })),
    norm: ones(),
    head: linear(dim, vocab),
  };
}

export const isLeaf = (x) => x.data instanceof Float32Array;

export function mapTree(f, tree, ...rest) {
  if (isLeaf(tree) || f.leaf?.(tree)) return f(tree, ...rest);
  if (Array.isArray(tree)) return tree.map((x, i) => mapTree(f, x, ...rest.map((r) => r[i])));
  return Object.fromEntries(Object.entries(tree).map(([k, x]) => [k, mapTree(f, x, ...rest.map((r) => r[k]))]));
}

export function leaves(tree) {
  const out = [];
  mapTree((x) => out.push(x), tree);
  return out;
}

export const countParams = (tree) => leaves(tree).reduce((n, x) => n + x.data.length, 0);

export function ropeTables({ dim, heads, seq }) {
  const d = dim / heads,
    half = d / 2,
    cos = new Float32Array(seq * d),
    sin = new Float32Array(seq * d);
  for (let t = 0; t < seq; t++)
    for (let i = 0; i < d; i++) {
      const angle = t / 10000 ** ((2 * (i % half)) / d);
      cos[t * d + i] = Math.cos(angle);
      sin[t * d + i] = Math.sin(angle);
    }
  return { cos, sin };
}

/** One fixed batch: inputs [batch, seq] and the same sequence one step on. */
export function tokens({ batch, seq, vocab }) {
  const r = rng(7),
    input = new Int32Array(batch * seq),
    target = new Int32Array(batch * seq);
  for (let b = 0; b < batch; b++) {
    const row = Array.from({ length: seq + 1 }, () => Math.floor(r() * vocab));
    for (let t = 0; t < seq; t++) {
      input[b * seq + t] = row[t];
      target[b * seq + t] = row[t + 1];
    }
  }
  return { input, target };
}
