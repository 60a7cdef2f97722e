/** A program for the `memory` bench: runs one case in a process of its own and prints, as JSON, the bytes that were live at the
 *  most beyond its input and its output. Arguments: the case, and `lazy` for no jit. */
import { grad, jit, memory, softmax, type Tensor, tensor } from "sinan";
import { openCpu } from "./processor.ts";

const [name = "chain", mode = "jit"] = process.argv.slice(2);

/** 24 element-wise ops. */
function chain(x: Tensor): Tensor {
  let y = x;
  for (let i = 0; i < 6; i++) y = y.mul(0.9).add(0.1).tanh().sub(x);
  return y;
}

function softmaxChain(x: Tensor): Tensor {
  let y = x;
  for (let i = 0; i < 24; i++) y = softmax(y);
  return y;
}

const cases: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  chain,
  "chain-grad": grad((x: Tensor) => chain(x).sum()),
  "softmax-chain": softmaxChain,
};
const f = cases[name];
if (!f) throw new RangeError(`no case ${name}`);

const device = await openCpu(1);
// 4 MB, there before anything is counted.
const x = tensor(
  Float32Array.from({ length: 2 ** 20 }, (_, i) => Math.sin(i)),
  { shape: [1024, 1024] },
);
await x.data();
const before = memory().live;
const y = (mode === "lazy" ? f : jit(f))(x);
await y.data();
console.log(JSON.stringify({ device, bytes: memory().peak - before - 4 * y.size }));
