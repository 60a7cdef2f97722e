/** A small network learns which of two interleaved half-moons a point is on. The step is compiled as one program: `jit` traces
 *  it at its first call, and `donate` lets the new weights take the memory of the old ones. */
import { concat, currentDevice, jit, key, slice, type Tensor, tensor, valueAndGrad } from "sinan";
import * as nn from "sinan/nn";
import * as optim from "sinan/optim";
import * as random from "sinan/random";

const { id } = await currentDevice();

/** Points [2 · count, 2] and classes [2 · count], i32. */
function halfMoons(count: number): { points: Tensor; classes: Tensor } {
  const angle = tensor(Float32Array.from({ length: count }, (_, i) => (Math.PI * i) / (count - 1)));
  const moon = (x: Tensor, y: Tensor): Tensor => concat([x.expandDims(1), y.expandDims(1)], 1);
  const upper = moon(angle.cos(), angle.sin());
  const lower = moon(angle.cos().neg().add(1), angle.sin().neg().add(0.5));
  const noise = random.normal(key(1), [2 * count, 2], { std: 0.1 });
  const classes = tensor(Int32Array.from({ length: 2 * count }, (_, i) => (i < count ? 0 : 1)));
  return { points: concat([upper, lower], 0).add(noise), classes };
}

const { points, classes } = halfMoons(128);
const network = nn.sequential(nn.linear(2, 32), nn.relu, nn.linear(32, 32), nn.relu, nn.linear(32, 2)).init(key(0));
const adam = optim.adamW({ learningRate: 0.01 });

type State = optim.AdamWState<typeof network>;
const step = jit(
  ({ state }: { state: State }) => {
    const [loss, gradient] = valueAndGrad((model: typeof network) => nn.crossEntropy(model(points), classes))(
      state.model,
    );
    return { loss, state: adam.update(state, gradient) };
  },
  { donate: ["state"] },
);

let state: State = adam.init(network);
for (let i = 0; i <= 150; i++) {
  const out = step({ state });
  ({ state } = out);
  if (i % 30 === 0) console.log(`step ${i}  loss ${(await out.loss.item()).toFixed(4)}`);
}

const logits = state.model(points);
const guesses = logits.at(slice(), 1).greater(logits.at(slice(), 0)).cast("i32");
const accuracy = await guesses.equal(classes).cast("f32").mean().item();
console.log(`${(100 * accuracy).toFixed(1)} % of ${classes.shape[0]} points on their own moon, on ${id}`);
