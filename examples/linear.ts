/** Linear regression in five lines: gradient descent finds y = 3x − 2 behind its noise. Nothing is jitted, and nothing is computed before
 *  the result is read: the operations of a hundred steps are one program. */
import { grad, key, random, type Tensor, tree, zeros } from "sinan";

const x = random.uniform(key(2), [64], { low: -1, high: 1 });
const y = x
  .mul(3)
  .sub(2)
  .add(random.normal(key(1), [64], { std: 0.1 }));
const loss = (f: typeof line): Tensor => x.mul(f.slope).add(f.offset).sub(y).square().mean();

let line = { slope: zeros([]), offset: zeros([]) };
for (let i = 0; i < 100; i++) line = tree.map((p, g) => p.sub(g.mul(0.3)), line, grad(loss)(line));

console.log(`y = ${(await line.slope.item()).toFixed(2)} x + ${(await line.offset.item()).toFixed(2)}`);
console.log(`mean square ${(await loss(line).item()).toFixed(4)}`);
