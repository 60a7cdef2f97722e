/** A training step of ResNet-18 on images of 32², f32, by SGD with momentum, with running statistics, jitted with its state donated; and
 *  the most memory that the process held. The same step in PyTorch, in turn. */
import process from "node:process";
import { jit, key, nn, optim, random, type Tensor, tensor, tree, valueAndGradWith } from "sinan";
import { calledTorches } from "../called-peer.ts";
import { beside, type Figure } from "../figure.ts";
import { inTurn, peaks } from "../in-turn.ts";
import type { Cases } from "../main.ts";
import { type ResNet, resnet18 } from "../models/resnet.ts";
import { openCpu } from "../processor.ts";

const classes = 10;
/** How long each of us steps, for each second that is asked for; a turn is a step, or a few. */
const share = 4;
const rounds = 12;
/** For each second asked for, those after which no other round begins. */
const mostOfAll = 30;

export const cases: Cases = async function* ({ threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const batch = quick ? 8 : 64;
  const run = await trainingStep(batch);
  const start = performance.now();
  await run();
  const first = (performance.now() - start) / 1000;
  await run();
  const program = { file: "torch-cnn-train.py", args: ["--batch", String(batch)] };
  const torches = peers ? await calledTorches(program, threads, quick) : [];
  const limits = { seconds: seconds * share, mostSeconds: seconds * mostOfAll, rounds, threads };
  const { ours, theirs } = await inTurn(run, torches, "step", limits);
  const held = await peaks(torches);
  for (const torch of torches) torch.close();
  const figure = { bench: "cnn-train", device, threads } as const;
  const speeds = theirs.map(({ name, version, value }) => ({ name, version, value: batch / value }));
  yield* beside({ ...figure, case: "step", value: batch / ours, unit: "images/s" }, speeds);
  yield { ...figure, case: "first-step", value: first, unit: "s" };
  yield* beside({ ...figure, case: "peak", value: process.resourceUsage().maxRSS / 1024, unit: "MB" }, held);
};

/** A call trains one step on the same images and waits for the loss. */
async function trainingStep(batch: number): Promise<() => Promise<void>> {
  const sgd = optim.sgd({ learningRate: 0.01, momentum: 0.9, weightDecay: 5e-4 });
  const step = jit(
    ({ state, images, labels }: { state: optim.SgdState<ResNet>; images: Tensor; labels: Tensor }) => {
      const [[loss, updates], grads] = valueAndGradWith((model: ResNet) => {
        const statistics: Record<string, Tensor> = {};
        const logits = model(images, { train: true, updates: statistics });
        return [nn.crossEntropy(logits, labels), statistics] as const;
      })(state.model);
      const next = sgd.update(state, grads);
      return { loss, state: { ...next, model: nn.withUpdates(next.model, updates) } };
    },
    { donate: ["state"], name: "resnetTrainStep" },
  );
  const images = random.normal(key(1), [batch, 3, 32, 32]);
  const labels = tensor(
    Int32Array.from({ length: batch }, (_, i) => (i * 7) % classes),
    { shape: [batch] },
  );
  let state = sgd.init(resnet18({ classes, stem: "small" }).init(key(0)));
  // The weights are drawn before any step is timed.
  for (const { tensor: leaf } of tree.tensors(state)) await leaf.data();
  return async () => {
    const out = step({ state, images, labels });
    ({ state } = out);
    await out.loss.item();
  };
}
