import { writeFileSync } from "node:fs";
const calls: [string, number, string][] = [];
const orig = WebAssembly.instantiate as any;
const codes = new WeakMap<object, Uint8Array>();
const origCompile = WebAssembly.compile as any;
(WebAssembly as any).compile = async (code: Uint8Array) => { const m = await origCompile(code); codes.set(m, code.slice()); return m; };
let serial = 0;
(WebAssembly as any).instantiate = async (module: any, imports: any) => {
  const inst = await orig(module, imports);
  const run = inst.exports.run;
  if (typeof run !== "function") return inst;
  const text = Buffer.from(codes.get(module)!).toString("latin1");
  const m = /[a-z][a-zA-Z]*[a-z_A-Z]*_[0-9x]+(_[0-9x]+)*/g.exec(text.slice(text.indexOf("run") >= 0 ? 0 : 0)) ;
  const names = [...text.matchAll(/[a-z][a-zA-Z_]+_[0-9]+(x[0-9]+)*/g)].map((x) => x[0]);
  const name = (names.at(-1) ?? "?");
  const id = serial++;
  if (process.env.DUMP) writeFileSync(`${process.env.DUMP}/${id}_${name}.wasm`, codes.get(module)!);
  const wrap = (...a: number[]) => { const t = performance.now(); run(...a); calls.push([name, performance.now() - t, `${id}`]); };
  Object.defineProperty(wrap, "length", { value: run.length });
  return { exports: { run: wrap } };
};
const { device, jit, key, optim, tensor, valueAndGrad } = await import("sinan");
const { llama, llamaConfig, loss } = await import("@sinan/llm");
const size = { vocab: 4096, seq: 256, batch: 8 };
await device("cpu");
const adam = optim.adamW({ learningRate: 3e-4 });
const step = jit(({ state, inputs, targets }: any) => {
  const [value, grads] = valueAndGrad((model: any) => loss(model, inputs, targets))(state.model);
  return { value, state: adam.update(state, grads) };
}, { donate: ["state"], name: "llamaTrainStep" } as any);
const ids = (shift: number) => tensor(Int32Array.from({ length: size.batch * size.seq }, (_, i) => ((i + shift) * 7919) % size.vocab), { shape: [size.batch, size.seq] });
const [inputs, targets] = [ids(0), ids(1)];
let state: any = adam.init(llama(llamaConfig("llama-bench")).init(key(0)));
const steps = +(process.env.STEPS ?? 6);
const per: [string, number, string][][] = [];
const losses: number[] = [];
for (let i = 0; i < steps + 3; i++) {
  calls.length = 0;
  const out: any = step({ state, inputs, targets });
  state = out.state;
  losses.push(await out.value.item());
  if (i >= 3) per.push(calls.slice());
}
console.log("losses", losses.map((x) => x.toFixed(6)).join(" "));
const n = per[0]!.length;
const agg = new Map<string, { t: number; c: number }>();
let total = 0;
for (let k = 0; k < n; k++) {
  const best = Math.min(...per.map((p) => p[k]![1]));
  const label = `${per[0]![k]![0]} #${per[0]![k]![2]}`;
  const e = agg.get(label) ?? { t: 0, c: 0 };
  e.t += best; e.c++; agg.set(label, e); total += best;
}
console.log(`calls ${n} total(min) ${total.toFixed(0)} ms -> ${(2048e3 / total).toFixed(0)} tokens/s`);
const fl = (name: string) => { const m = /dot_([0-9x]+)/.exec(name); return m ? 2 * m[1]!.split("x").reduce((a, b) => a * +b, 1) : 0; };
let df = 0, dt = 0;
for (const [k, v] of [...agg].sort((a, b) => b[1].t - a[1].t)) {
  const f = fl(k); if (f) { df += f * v.c; dt += v.t; }
  if (v.t > total * 0.002) console.log(v.t.toFixed(1).padStart(8), String(v.c).padStart(4), (v.t / v.c).toFixed(2).padStart(8), f ? ((f * v.c) / v.t / 1e6).toFixed(1).padStart(6) : "      ", k);
}
console.log("dots", dt.toFixed(0), "ms", (df / dt / 1e6).toFixed(1), "GFLOP/s; rest", (total - dt).toFixed(0));
