/** The gradient of each example by itself: `vmap(grad)`. Here it finds the one example whose answer is wrong, and each is clipped to a norm
 *  of 1 before all are added up, as learning with differential privacy does (Abadi et al. 2016, arXiv:1607.00133). */
import { grad, jit, key, nn, optim, random, type Tensor, tensor, tree, vmap } from "sinan";

const [count, wrong] = [32, 13];
const model = nn.sequential(nn.linear(4, 16), nn.tanh, nn.linear(16, 1)).init(key(0));
type Model = typeof model;

const x = random.normal(key(1), [count, 4]);
const y = x
  .sum(-1)
  .tanh()
  .add(tensor(Float32Array.from({ length: count }, (_, i) => (i === wrong ? 5 : 0))));

const loss = (m: Model, example: Tensor, answer: Tensor): Tensor => m(example).reshape([]).sub(answer).square();
const each = jit(vmap(grad(loss), { in: [null, 0, 0] }));
const clipped = jit(
  vmap(
    (m: Model, example: Tensor, answer: Tensor) => {
      const { grads, norm } = optim.clipByGlobalNorm(grad(loss)(m, example, answer), 1);
      return { grads, norm };
    },
    { in: [null, 0, 0] },
  ),
);

// Their mean is the gradient of the batch.
const mean = tree.map((g) => g.mean(0), each(model, x, y));
const batch = grad((m: Model) => nn.mseLoss(m(x).reshape([count]), y))(model);
const difference = optim.globalNorm(tree.map((a, b) => a.sub(b), mean, batch));
console.log(`mean of the gradients less the batch's: ${(await difference.item()).toExponential(0)}`);

const { grads, norm } = clipped(model, x, y);
console.log(
  `the largest gradient is that of example ${await norm.argmax().item()}, ${(await norm.max().item()).toFixed(1)}`,
);
const total = optim.globalNorm(tree.map((g) => g.sum(0), grads));
console.log(`norm of the clipped sum: ${(await total.item()).toFixed(2)}, at most ${count}`);
