/** Linear regression by gradient descent: y = 3x − 2 with noise. Nothing is jitted: the operations of a step stay pending until
 *  the loss is read, and the second step finds the program of the first. */
import { key, random, type Tensor, tree, valueAndGrad, zeros } from "sinan";

const noise = random.normal(key(1), [64], { std: 0.1 });
const x = random.uniform(key(2), [64], { low: -1, high: 1 });
const y = x.mul(3).sub(2).add(noise);

interface Line {
  readonly slope: Tensor;
  readonly offset: Tensor;
}

const meanSquare = ({ slope, offset }: Line): Tensor => x.mul(slope).add(offset).sub(y).square().mean();

let line: Line = { slope: zeros([]), offset: zeros([]) };
for (let step = 0; step <= 100; step++) {
  const [loss, gradient] = valueAndGrad(meanSquare)(line);
  line = tree.map((value, derivative) => value.sub(derivative.mul(0.3)), line, gradient);
  const now = await loss.item();
  if (step % 20 === 0) console.log(`step ${step}  loss ${now.toFixed(4)}`);
}

console.log(`y = ${(await line.slope.item()).toFixed(2)} x + ${(await line.offset.item()).toFixed(2)}`);
