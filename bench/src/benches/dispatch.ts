/** The cost of a call: a jitted `x + 1` on 16 floats read back each time and in a chain, an update of a tree of 300 leaves,
 *  and a training step of a small network un-jitted and jitted, with a learning rate that changes each step. */
import { grad, jit, key, matmul, random, type Tensor, tensor, tree, zeros } from "sinan";
import { beside, type Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median, times } from "../measure.ts";
import { dispatchPeers } from "../peer-programs.ts";
import { ofCase } from "../peers.ts";
import { openCpu } from "../processor.ts";

const leaves = 300;
const chained = 500;

export const cases: Cases = async function* ({ threads, peers, seconds }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const measured = peers ? await dispatchPeers(leaves) : [];
  const figure = async function* (
    name: string,
    calls: number,
    run: () => Promise<unknown>,
    peer?: string,
  ): AsyncGenerator<Figure> {
    const taken = median(await times(run, { seconds, warmup: 5, atMost: 20_000 }));
    const own = {
      bench: "dispatch",
      case: name,
      device,
      threads,
      value: (taken * 1e6) / calls,
      unit: "us",
    } as const;
    yield* beside(own, peer ? ofCase(measured, peer) : []);
  };

  const increment = jit((x: Tensor) => x.add(1));
  const x = zeros([16]);
  yield* figure("call", 1, () => increment(x).data(), "await");
  yield* figure(
    "call-chain",
    chained,
    () => {
      let y = x;
      for (let i = 0; i < chained; i++) y = increment(y);
      return y.data();
    },
    "chain",
  );

  const parameters = Object.fromEntries(
    Array.from({ length: leaves }, (_, i) => [`p${i}`, tensor(new Float32Array(64).fill(i))]),
  );
  const update = jit((p: typeof parameters, g: typeof parameters) => tree.map((a, b) => a.sub(b.mul(0.1)), p, g));
  yield* figure("tree", 1, () => (update(parameters, parameters)["p0"] as Tensor).data(), "tree");

  const input = random.normal(key(3), [64, 784]);
  const trainStep = (model: Network, rate: number): Network => {
    const g = grad((m: Network) => matmul(matmul(input, m.a).tanh(), m.b).square().mean())(model);
    return tree.map((p, d) => p.sub(d.mul(rate)), model, g);
  };
  for (const [name, step] of [
    ["mlp-lazy", trainStep],
    ["mlp-jit", jit(trainStep)],
  ] as const) {
    let model = network();
    let rate = 0.1;
    yield* figure(name, 1, async () => {
      rate *= 0.999;
      model = step(model, rate);
      return model.a.at(0, 0).item();
    });
  }
};

interface Network {
  readonly a: Tensor;
  readonly b: Tensor;
}

/** The network and the batch that people begin with: 784–128–10, 64 images. */
const network = (): Network => ({ a: random.normal(key(1), [784, 128]), b: random.normal(key(2), [128, 10]) });
