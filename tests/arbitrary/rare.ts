/** Steps of random graphs with the ops of rare families. */
import { cond, scan, whileLoop } from "./control.ts";
import { sizeOf } from "../../core/src/ir/dim.ts";
import { type CumulateKind, dimsOf, type Node, type Op, type ReduceKind } from "../../core/src/ir/node.ts";
import * as b from "../../core/src/ops/build.ts";
import { conv, convWeights } from "../../core/src/ops/convolution.ts";
import { knownDims } from "../../core/src/ops/indexing.ts";
import { window } from "../../core/src/ops/window.ts";
import { cumulate } from "../../core/src/ops/cumulative.ts";
import { scatterReduce } from "../../core/src/ops/scattering.ts";
import { argsort } from "../../core/src/ops/sorting.ts";
import "../../core/src/ops/special.ts";
import { rareOps, specialOps } from "./ops.ts";
import { type Draw, matching, ofKind, pick, type Pool } from "./pool.ts";

export type RareStep = (typeof rareOps)[number];

const steps: ReadonlySet<string> = new Set(rareOps);
export const isRare = (op: Op): op is RareStep => steps.has(op);

/** One more node, or undefined where nothing in the pool fits the op. */
export function rareStep(op: RareStep, draw: Draw, pool: Pool): Node | undefined {
  const fit = ofKind(pool, ...kindsOf(op)).filter((n) => dimsOf(n).every((d) => typeof d === "number"));
  if (fit.length === 0) return undefined;
  const x = pick(draw, fit);
  const dims = dimsOf(x) as readonly number[];
  const axis = draw(dims.length);
  switch (op) {
    case "atan2":
      return b.build("atan2", [x, matching(draw, pool, x)], {}) as Node;
    case "argsort":
      return dims.length > 0 ? argsort(x, axis, draw(2) === 1) : undefined;
    case "cumulate": {
      if (dims.length === 0) return undefined;
      const kind = pick(draw, ["sum", "prod", "max", "min", "affine"] satisfies CumulateKind[]);
      return cumulate(kind, kind === "affine" ? [x, matching(draw, pool, x)] : [x], axis, draw(2) === 1);
    }
    case "scatterReduce": {
      if (dims.length === 0) return undefined;
      const indices = b.sub(b.iota("i32", [4], 0), b.fill(b.scalar(draw(3), "i32"), [4]));
      const updates = resized(x, [...dims.slice(0, axis), 4, ...dims.slice(axis + 1)]);
      return scatterReduce(pick(draw, ["prod", "max", "min"]), x, indices, updates, axis);
    }
    case "conv":
    case "convWeights": {
      const space = Array.from({ length: 1 + draw(2) }, () => 3 + draw(4));
      const sizes = space.map(() => 1 + draw(3));
      const [groups, channels] = [1 + draw(2), 1 + draw(3)];
      const image = resized(x, [1 + draw(2), groups, channels, ...space]);
      const weights = resized(matching(draw, pool, x), [groups, 1 + draw(3), channels, ...sizes]);
      const attr = {
        strides: space.map(() => 1 + draw(2)),
        dilations: space.map(() => 1),
        low: space.map(() => draw(3)),
        high: space.map(() => draw(3)),
      };
      if (op === "conv") return conv(image, weights, attr);
      const counts = knownDims(conv(image, weights, attr)).slice(3);
      const cotangents = resized(matching(draw, pool, x), [...knownDims(image).slice(0, 2), 1 + draw(3), ...counts]);
      return convWeights(image, cotangents, { ...attr, sizes });
    }
    case "window": {
      const space = Array.from({ length: 1 + draw(2) }, () => 3 + draw(4));
      return window(resized(x, [2, ...space]), {
        kind: pick(draw, ["sum", "max", "min"] satisfies ReduceKind[]),
        sizes: space.map(() => 1 + draw(3)),
        strides: space.map(() => 1 + draw(2)),
        dilations: space.map(() => 1),
      });
    }
    case "scan":
      return scan(x, draw);
    case "cond":
      return cond(x, draw);
    case "while":
      return whileLoop(x, draw);
    default:
      return b.build(op, [x], {}) as Node;
  }
}

function kindsOf(op: RareStep): readonly string[] {
  if (op === "argsort") return ["float", "int", "uint", "bool"];
  return op === "atan2" || (specialOps as readonly RareStep[]).includes(op) ? ["float"] : ["float", "int", "uint"];
}

/** The elements of x in other dims: the first ones, or with zeros behind them. */
function resized(x: Node, dims: readonly number[]): Node {
  const [have, want] = [sizeOf(dimsOf(x)) as number, sizeOf(dims) as number];
  const flat = b.reshape(x, [have]);
  return b.reshape(have < want ? b.pad(flat, [0], [want - have], 0) : b.slice(flat, [0], [want]), dims);
}
