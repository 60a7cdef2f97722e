import { wasmCodegen } from "./south/cpu/src/wasm/render.ts";
import { print } from "./core/src/ir/print.ts";
const o = wasmCodegen.render;
const want = new RegExp(process.env.WANT ?? ".");
(wasmCodegen as any).render = (k: any, h: any) => { if (want.test(k.name)) console.log(print(k)); return o(k, h); };
process.env.STEPS = "0";
process.argv[2] = "x";
const { device, jit, key, optim, tensor, valueAndGrad } = await import("sinan");
const { llama, llamaConfig, loss } = await import("@sinan/llm");
await device("cpu");
const adam = optim.adamW({ learningRate: 3e-4 });
const step = jit(({ state, inputs, targets }: any) => {
  const [value, grads] = valueAndGrad((model: any) => loss(model, inputs, targets))(state.model);
  return { value, state: adam.update(state, grads) };
}, { donate: ["state"], name: "llamaTrainStep" } as any);
const ids = (shift: number) => tensor(Int32Array.from({ length: 2048 }, (_, i) => ((i + shift) * 7919) % 4096), { shape: [8, 256] });
const state: any = adam.init(llama(llamaConfig("llama-bench")).init(key(0)));
const out: any = step({ state, inputs: ids(0), targets: ids(1) });
console.log(await out.value.item());
