import * as S from "sinan/south";
import { cpuDriver } from "../driver.ts";
import { render } from "./render.ts";
const { applySchedule, build, lower, makeFn, newScope, schedule, tensorType, within, tensorTypeOf, nestsOf, rangesIn } = S;
const { add, mul, exp, reduce, permute, expand, reshape, dot, max, cast, sub, div, sqrt, gather } = build;
const expandT = (S as any).expandTranscendentals ?? ((k: any) => k);
const device = await cpuDriver.open("cpu");
const median = (x: number[]) => x.sort((a, b) => a - b)[x.length >> 1]!;
const c1 = (v: number, d: number[]) => expand(reshape(build.scalar(v, "f32"), d.map(() => 1)), d);
const cases: [string, any[], (...x: any[]) => any, number][] = [
  ["copy 64K f32", [["f32", [65536]]], (a) => a, 65536],
  ["add 64K", [["f32", [65536]], ["f32", [65536]]], (a, b) => add(a, b), 65536],
  ["add 64K odd", [["f32", [65537]], ["f32", [65537]]], (a, b) => add(a, b), 65537],
  ["exp 64K", [["f32", [65536]]], (a) => exp(a), 65536],
  ["silu*b 64K", [["f32", [65536]], ["f32", [65536]]], (a, b) => mul(mul(a, div(c1(1, [65536]), add(c1(1, [65536]), exp(build.neg(a))))), b), 65536],
  ["adamw 64K", [0,1,2,3].map(() => ["f32", [65536]]), (p, g, m, v) => { const k = (x: number) => c1(x, [65536]); const m2 = add(mul(k(.9), m), mul(k(.1), g)); const v2 = add(mul(k(.99), v), mul(k(.01), mul(g, g))); return [sub(p, mul(k(1e-3), add(div(m2, add(sqrt(v2), k(1e-8))), mul(k(.01), p)))), m2, v2]; }, 65536],
  ["sum rows 256x256", [["f32", [256, 256]]], (a) => reduce("sum", a, [1]), 65536],
  ["sum cols 256x256", [["f32", [256, 256]]], (a) => reduce("sum", a, [0]), 65536],
  ["max rows 256x256", [["f32", [256, 256]]], (a) => reduce("max", a, [1]), 65536],
  ["transpose 256", [["f32", [256, 256]]], (a) => permute(a, [1, 0]), 65536],
  ["heads permute [8,32,4,64]->[8,4,32,64]", [["f32", [8, 32, 4, 64]]], (a) => permute(a, [0, 2, 1, 3]), 65536],
  ["row broadcast", [["f32", [256, 256]], ["f32", [256]]], (a, b) => add(a, expand(reshape(b, [256, 1]), [256, 256])), 65536],
  ["gather rows", [["f32", [256, 256]], ["i32", [256]]], (a, i) => gather(a, i, 0), 65536],
  ["f16->f32", [["f16", [65536]]], (a) => cast(a, "f32"), 65536],
  ["f32->f16", [["f32", [65536]]], (a) => cast(a, "f16"), 65536],
  ["matvec 256x256", [["f32", [1, 256]], ["f32", [256, 256]]], (a, b) => dot(a, b, { contract: [[1], [0]], batch: [[], []] }), 65536],
  ["matvec^T 256x256", [["f32", [1, 256]], ["f32", [256, 256]]], (a, b) => dot(a, b, { contract: [[1], [1]], batch: [[], []] }), 65536],
  ["qk 32x[64,32]x[64,32]^T", [["f32", [32, 64, 32]], ["f32", [32, 64, 32]]], (a, b) => dot(a, b, { contract: [[2], [2]], batch: [[0], [0]] }), 32*64*64*32],
  ["random 64K", [["u32", [2]], ["u32", []]], (k, o) => build.random(k, o, [65536]), 65536],
];
for (const [name, params, body, count] of cases) {
  const fn = within(newScope(), () => {
    const p = params.map(([dtype, dims]: any, index: number) => build.build("param", [], { index, name: `p${index}`, type: tensorType(dtype, dims) }));
    const r = body(...p);
    return makeFn("k", p as any, Array.isArray(r) ? r : [r]);
  });
  const t0 = performance.now();
  const plain = lower(fn);
  const kernel = expandT(applySchedule(plain, schedule(plain, device.hardware)));
  const t1 = performance.now();
  const art = render(kernel, device.hardware);
  const t2 = performance.now();
  const exe = await device.load(art);
  const t3 = performance.now();
  const regions = kernel.params.map((p: any) => { const { dtype, dims } = tensorTypeOf(p); const bytes = S.byteSize(dtype, dims[0] as number); const m = device.alloc(bytes, "device"); const v = m.view!(); if (dtype === "f32") new Float32Array(v.buffer, v.byteOffset, bytes / 4).forEach((_, i, a) => (a[i] = Math.random() - .5)); else v.fill(0); return { memory: m, offset: 0, bytes }; });
  if (art.scratchBytes) regions.push({ memory: device.alloc(art.scratchBytes, "device"), offset: 0, bytes: art.scratchBytes });
  let c = device.poll({ timeline: 0, value: 0n });
  const once = () => { const t = performance.now(); for (let i = 0; i < 10; i++) device.submit("compute", [{ kind: "launch", executable: exe, regions, scalars: [] }], [], { timeline: 0, value: ++c }); return (performance.now() - t) / 10; };
  for (let i = 0; i < 20; i++) once();
  await new Promise((r) => setTimeout(r, 30));
  const g: number[] = []; for (let i = 0; i < 15; i++) g.push(once());
  const t = median(g);
  const r = rangesIn(nestsOf(kernel).flatMap((n: any) => n.src));
  console.log(name.padEnd(42), (t * 1e3).toFixed(1).padStart(8), "us", (t * 1e6 / count).toFixed(3).padStart(8), "ns/el", `sched ${(t1-t0).toFixed(1)} render ${(t2-t1).toFixed(1)} load ${(t3-t2).toFixed(1)} ${(art.code as any).length}B`, nestsOf(kernel).map((n: any) => n.attr.order.map((id: number) => `${r.get(id)!.attr.kind[0]}${r.get(id)!.attr.extent}`).join(" ")).join(" | "));
}
