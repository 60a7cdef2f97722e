/** Ten steps of clipping and AdamW on a LLaMA follow PyTorch: losses, gradient norms and the weights that come out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { device, type DType, jit, optim, type Tensor, tensor, tree, valueAndGrad } from "sinan";
import { readFileSync } from "node:fs";
import { onEachDevice } from "../../../../tests/devices.ts";
import {
  type AdamwCase,
  fixturePath,
  type Loaded,
  loadCases,
  loadTensors,
  named,
} from "../../../../tests/fixtures/load.ts";
import { llamaConfigFromJson } from "../config.ts";
import { withWeights } from "../weights/stored.ts";
import { type Llama, llama } from "./llama.ts";
import { loss } from "./loss.ts";

const { cases, hyper, tensors } = loadCases("adamw");
const config = llamaConfigFromJson(JSON.parse(readFileSync(fixturePath("llama", "untied", "config.json"), "utf8")));

function fresh(dtype: DType): Llama {
  const stored = loadTensors("llama", "untied", "model.safetensors");
  return withWeights(llama(config), (path) =>
    tensor(named(stored, path).values, { shape: named(stored, path).shape, dtype }),
  );
}

/** Ids of step t, `[batch, time + 1]`, split into inputs and targets. */
function batchOf(step: number): { inputs: Tensor; targets: Tensor } {
  const { values, shape } = named(tensors, "batches");
  const [, batch, time] = shape as [number, number, number];
  const part = (from: number): Tensor =>
    tensor(
      Int32Array.from(
        { length: batch * (time - 1) },
        (_, i) => values[((step - 1) * batch + Math.floor(i / (time - 1))) * time + (i % (time - 1)) + from] as number,
      ),
      { shape: [batch, time - 1] },
    );
  return { inputs: part(0), targets: part(1) };
}

async function follow(c: Loaded<AdamwCase>, tolerance: number): Promise<void> {
  const adam = optim.adamW({
    betas: [hyper.beta1, hyper.beta2],
    epsilon: hyper.epsilon,
    weightDecay: hyper.weightDecay,
  });
  const step = jit(
    ({
      state,
      inputs,
      targets,
      rate,
    }: {
      state: optim.AdamWState<Llama>;
      inputs: Tensor;
      targets: Tensor;
      rate: number;
    }) => {
      const [value, gradients] = valueAndGrad((m: Llama) => loss(m, inputs, targets))(state.model);
      const { grads, norm } = optim.clipByGlobalNorm(gradients, c.maxNorm);
      return { state: adam.update(state, grads, { learningRate: rate }), value, norm };
    },
    { donate: ["state"] },
  );
  const schedule = optim.cosine({
    peak: hyper.learningRate,
    warmupSteps: hyper.warmupSteps,
    steps: hyper.steps,
    finalFraction: hyper.finalFraction,
  });
  let state = adam.init(fresh(c.dtype));
  for (let t = 1; t <= hyper.steps; t++) {
    const rate = schedule(t);
    assert.ok(Math.abs(rate - (c.rates[t - 1] as number)) < 1e-12);
    const out = step({ state, ...batchOf(t), rate });
    state = out.state;
    near(await out.value.item(), c.losses[t - 1] as number, tolerance, `loss of step ${t}`);
    near(await out.norm.item(), c.gradientNorms[t - 1] as number, tolerance, `norm of step ${t}`);
  }
  const weights = new Map(tree.tensors(state.model).map(({ path, tensor }) => [path, tensor]));
  const kept = [...tensors.keys()]
    .filter((name) => name.startsWith(`${c.name}/final/`))
    .map((name) => name.slice(`${c.name}/final/`.length));
  assert.ok(kept.length > 0);
  for (const path of kept) {
    const values = await (weights.get(path) as Tensor).data();
    c.tensor(`final/${path}`).values.forEach((x, i) =>
      assert.ok(Math.abs(x - Number(values[i])) < tolerance, `${path}[${i}]: ${values[i]} for ${x}`),
    );
  }
}

const near = (got: number, want: number, tolerance: number, what: string): void =>
  assert.ok(Math.abs(got - want) < tolerance * Math.abs(want), `${what}: ${got} for ${want}`);

for (const c of cases)
  if (c.dtype === "f32") onEachDevice(`ten steps of AdamW, ${c.name}`, () => follow(c, 1e-4));
  else
    test(`ten steps of AdamW, ${c.name} exact`, async () => {
      await device("interpreter", { options: { exact: true } });
      await follow(c, 1e-9);
    });
