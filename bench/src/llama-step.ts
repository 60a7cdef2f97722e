/** The training step that several benches time: AdamW on a LLaMA, f32, jitted with its state donated. */
import { footprint, jit, key, optim, type Tensor, tensor, tree, valueAndGrad } from "sinan";
import { llama, type Llama, llamaConfig, loss } from "@sinan/llm";

export interface StepSize {
  readonly dim: number;
  readonly heads: number;
  readonly layers: number;
  readonly vocab: number;
  readonly seq: number;
  readonly batch: number;
}

/** A fresh model of `llama-bench`'s kind in these sizes, and its step: a call runs one and waits for the loss, which it gives. */
export const llamaStep = async (size: StepSize): Promise<() => Promise<number>> => (await llamaCase(size)).run;

interface LlamaCase {
  readonly run: () => Promise<number>;
  /** Traced, compiled, its kernels built or found and loaded, but not run. */
  readonly ready: () => Promise<unknown>;
  readonly dispose: () => void;
}

/** The same, and what else is done with it. */
export async function llamaCase(size: StepSize): Promise<LlamaCase> {
  const { dim, heads, layers, vocab, seq, batch } = size;
  const adam = optim.adamW({ learningRate: 3e-4 });
  const step = jit(
    ({ state, inputs, targets }: { state: optim.AdamWState<Llama>; inputs: Tensor; targets: Tensor }) => {
      const [value, grads] = valueAndGrad((model: Llama) => loss(model, inputs, targets))(state.model);
      return { value, state: adam.update(state, grads) };
    },
    { donate: ["state"], name: "llamaTrainStep" },
  );
  const ids = (shift: number): Tensor =>
    tensor(
      Int32Array.from({ length: batch * seq }, (_, i) => ((i + shift) * 7919) % vocab),
      { shape: [batch, seq] },
    );
  const [inputs, targets] = [ids(0), ids(1)];
  const config = llamaConfig("llama-bench", {
    vocabSize: vocab,
    hiddenSize: dim,
    // What SwiGLU of four times the width costs, in whole 32s, as in bench/peers.
    intermediateSize: Math.floor((Math.floor((8 * dim) / 3) + 31) / 32) * 32,
    numHiddenLayers: layers,
    numAttentionHeads: heads,
    numKeyValueHeads: heads,
    headDim: dim / heads,
  });
  let state = adam.init(llama(config).init(key(0)));
  // The weights are drawn before any step is timed. Work is done in order: when the last one is there, all are. They are not read,
  // which would leave copies in the process whose peak is measured.
  const leaves = tree.tensors(state).map(({ tensor: leaf }) => leaf);
  for (const leaf of leaves) leaf.buffer();
  await leaves.at(-1)?.data();
  return {
    ready: () => footprint(step, { state, inputs, targets }),
    run: async () => {
      const out = step({ state, inputs, targets });
      ({ state } = out);
      return await out.value.item();
    },
    dispose: () => {
      for (const { tensor: leaf } of tree.tensors({ state, inputs, targets })) leaf.dispose();
    },
  };
}
