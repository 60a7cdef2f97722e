import { applySchedule, build, lower, makeFn, newScope, schedule, tensorType, within, nestsOf, rangesIn } from "sinan/south";
import { cpuDriver } from "../driver.ts";
import { render } from "./render.ts";
import { wasmModule } from "./assembler.ts";
import { writeFileSync } from "node:fs";
const device = await cpuDriver.open("cpu");
// peak
const mod = wasmModule();
mod.fn(["i32"], ["v128"], (f, n = 0) => {
  const acc = Array.from({ length: 12 }, () => f.local("v128"));
  const a = f.local("v128"), b = f.local("v128");
  f.f32x4(1,1,1,1); f.set(a); f.f32x4(0.1,0.2,0.3,0.4); f.set(b);
  const l = f.loop();
  for (let r = 0; r < 4; r++) for (const c of acc) { f.get(a); f.get(b); f.get(c); f.op("f32x4.relaxed_madd"); f.set(c); }
  f.get(n); f.i32(1); f.op("i32.sub"); f.tee(n); f.brIf(l); f.end();
  f.get(acc[0]!); for (const c of acc.slice(1)) { f.get(c); f.op("f32x4.add"); }
}, { name: "p" });
mod.fn(["i32"], ["f32"], (f, n = 0) => { f.get(n); f.call(0); f.op("f32x4.extract_lane", 0); }, { name: "peak", export: true });
const peakFn = new WebAssembly.Instance(new WebAssembly.Module(mod.bytes())).exports.peak as (n: number) => number;
const peakN = 4_000_000;
function peak() { const t = performance.now(); peakFn(peakN); return (peakN * 48 * 8) / (performance.now() - t) / 1e6; }
for (let i = 0; i < 4; i++) peak();
const median = (x: number[]) => x.sort((a, b) => a - b)[x.length >> 1]!;
for (const n of (process.argv[2] ?? "512,768,1024").split(",").map(Number)) {
  const fn = within(newScope(), () => {
    const p = [0, 1].map((index) => build.build("param", [], { index, name: `p${index}`, type: tensorType("f32", [n, n]) }));
    return makeFn("gemm", p, [build.dot(p[0]!, p[1]!, { contract: [[1], [0]], batch: [[], []] })]);
  });
  const plain = lower(fn);
  const opts = schedule(plain, device.hardware);
  const t0 = performance.now();
  const kernel = applySchedule(plain, opts);
  const t1 = performance.now();
  const art = render(kernel, device.hardware);
  const t2 = performance.now();
  for (const nest of nestsOf(kernel)) { const r = rangesIn(nest.src); console.log(nest.attr.order.map((id) => `${r.get(id)!.attr.kind}${r.get(id)!.attr.extent}`).join(" ")); }
  console.log(`schedule ${(t1-t0).toFixed(1)} render ${(t2 - t1).toFixed(1)} ms`, (art.code as Uint8Array).length, "bytes");
  writeFileSync(`/tmp/cpubench/gemm${n}.wasm`, art.code as Uint8Array);
  const exe = await device.load(art);
  const regions = [n * n * 4, n * n * 4, n * n * 4, art.scratchBytes].map((bytes) => ({ memory: device.alloc(bytes, "device"), offset: 0, bytes }));
  for (const r of regions.slice(0, 2)) { const v = r.memory.view!(); const f = new Float32Array(v.buffer, v.byteOffset, n * n); for (let i = 0; i < f.length; i++) f[i] = Math.random() - 0.5; }
  let c = BigInt(n) * 1000n;
  const once = () => { const t = performance.now(); device.submit("compute", [{ kind: "launch", executable: exe, regions, scalars: [] }], [], { timeline: 0, value: ++c }); return (2 * n ** 3) / (performance.now() - t) / 1e6; };
  for (let i = 0; i < 5; i++) once();
  await new Promise((r) => setTimeout(r, 200));
  const g: number[] = [], p: number[] = [];
  for (let i = 0; i < 9; i++) { p.push(peak()); g.push(once()); }
  console.log(n, "gemm", median(g).toFixed(1), "peak", median(p).toFixed(1), (median(g) / median(p)).toFixed(3), "max", Math.max(...g).toFixed(1));
}
