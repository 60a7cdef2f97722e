/** Random functions of both levels for property tests. A graph is grown from a list of small numbers, each step choosing an
 *  op and operands among what there is, so that fast-check shrinks a failing graph by dropping steps. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { type Dim, dimsEqual, sizeOf } from "../../core/src/ir/dim.ts";
import { symbol } from "../../core/src/ir/symbol.ts";
import { type BlockDType, byteSize, type DType, dtypes, isBlock, isFloat, isFull } from "../../core/src/ir/dtype.ts";
import { type Fn, makeFn } from "../../core/src/ir/fn.ts";
import {
  dimsOf,
  dtypeOf,
  type Node,
  type NodeOf,
  type Op,
  type RangeKind,
  type ReduceKind,
} from "../../core/src/ir/node.ts";
import { print } from "../../core/src/ir/print.ts";
import { within } from "../../core/src/ir/scope.ts";
import { tensorType } from "../../core/src/ir/type.ts";
import { decode, sizeOfDims, type Value, valueOf } from "../../core/src/interpreter/value.ts";
import { dequantize } from "../../core/src/ops/blocks.ts";
import * as b from "../../core/src/ops/build.ts";
import { addIndex, constIndex, flattenIndex, mulIndex, subIndex } from "../../core/src/ops/indexing.ts";
import { newScope } from "../../core/src/ops/table.ts";
import { type Draw, drawFrom, matching, ofKind, pick, type Pool } from "./pool.ts";
import { binaryOps, tensorOps, unaryOps } from "./ops.ts";
import { isRare, rareStep } from "./rare.ts";

/** The dtypes that are computed with. */
export const everyDtype: readonly DType[] = [
  "f32",
  "f64",
  "i32",
  "u32",
  "bool",
  "f16",
  "bf16",
  "i64",
  "u8",
  "i8",
  "u16",
  "i16",
];

export interface GraphOptions {
  /** Dtypes of parameters and casts. */
  readonly dtypes?: readonly DType[];
  /** Ops that may be chosen; every op of the tensor level by default. */
  readonly ops?: readonly Op[];
  readonly maxNodes?: number;
  /** There are parameters of these too, whose values any op may take. */
  readonly blocks?: readonly BlockDType[];
  /** Parameters may have symbolic dims. */
  readonly symbolic?: boolean;
}

/** Odd, prime, zero-size, broadcastable and 0-d shapes, within a vector of lanes and beyond two; few, so that two often fit. */
const shapes: readonly (readonly number[])[] = [
  [],
  [1],
  [3],
  [0],
  [2, 3],
  [3, 2],
  [5, 1],
  [1, 7],
  [2, 0, 3],
  [2, 3, 4],
  [17],
  [7, 13],
  [3, 1, 2, 5],
];

const kindsOfOp = (op: Op): string[] => {
  if (["not", "and", "or", "xor"].includes(op)) return ["int", "uint", "bool"];
  if (op === "shl" || op === "shr") return ["int", "uint"];
  if (["max", "min", "lt", "eq"].includes(op)) return ["float", "int", "uint", "bool"];
  return ["neg", "abs", "sign", "add", "sub", "mul", "idiv", "mod", "dot"].includes(op)
    ? ["float", "int", "uint"]
    : ["float"];
};

/** One more node, or undefined where nothing in the pool fits the op. */
function step(op: Op, draw: Draw, pool: Pool): Node | undefined {
  const x = pick(draw, pool.nodes);
  const dims = dimsOf(x);
  const fixed = dims.every((d) => typeof d === "number");
  const numbers = dims as readonly number[];
  const axis = draw(dims.length);
  if ((unaryOps as readonly Op[]).includes(op) || (binaryOps as readonly Op[]).includes(op)) {
    const fit = ofKind(pool, ...kindsOfOp(op));
    if (fit.length === 0) return undefined;
    const a = pick(draw, fit);
    const src = (unaryOps as readonly Op[]).includes(op) ? [a] : [a, matching(draw, pool, a)];
    return b.build(op as "neg", src, {}) as Node;
  }
  if (isRare(op)) return rareStep(op, draw, pool);
  switch (op) {
    case "where":
      return b.where(matching(draw, pool, x, "bool"), x, matching(draw, pool, x));
    case "cast":
      return b.cast(x, pick(draw, pool.dtypes));
    case "bitcast": {
      const same = pool.dtypes.filter((d) => dtypes[d].bytes === dtypes[dtypeOf(x)].bytes && d !== "bool");
      return same.length > 0 ? b.bitcast(x, pick(draw, same)) : undefined;
    }
    case "reshape": {
      const targets: Dim[][] = [[sizeOf(dims)], [1, ...dims], [...dims, 1], dims.filter((d) => d !== 1)];
      if (fixed && dims.length > 1)
        targets.push([(numbers[0] as number) * (numbers[1] as number), ...dims.slice(2)], [...dims].reverse());
      return b.reshape(x, pick(draw, targets));
    }
    case "permute": {
      const axes = dims.map((_, a) => a);
      for (let i = axes.length - 1; i > 0; i--) {
        const j = draw(i + 1);
        [axes[i], axes[j]] = [axes[j] as number, axes[i] as number];
      }
      return b.permute(x, axes);
    }
    case "expand":
      return b.expand(
        x,
        dims.map((d) => (d === 1 ? draw(4) : d)),
      );
    case "pad":
      return b.pad(
        x,
        dims.map(() => draw(3)),
        dims.map(() => draw(3)),
        pick(
          draw,
          [0, 1, -2.5, Number.NaN, Number.NEGATIVE_INFINITY].filter((v) => isFloat(dtypeOf(x)) || v === 0 || v === 1),
        ),
      );
    case "slice": {
      if (!fixed) return undefined;
      const by = numbers.map(() => 1 + draw(2));
      const start = numbers.map((d) => draw(d + 1));
      return b.slice(
        x,
        start,
        numbers.map((d, a) => draw(Math.ceil((d - (start[a] as number)) / (by[a] as number)) + 1)),
        by,
      );
    }
    case "flip":
      return b.flip(
        x,
        dims.flatMap((_, a) => (draw(2) === 1 ? [a] : [])),
      );
    case "concat":
      return dims.length > 0 ? b.concat([x, matching(draw, pool, x), ...(draw(2) ? [x] : [])], axis) : undefined;
    case "reduce": {
      const kind = pick(draw, ["sum", "prod", "max", "min"] satisfies ReduceKind[]);
      const fit = ofKind(pool, "float", "int", "uint", ...(kind === "max" || kind === "min" ? ["bool"] : []));
      if (fit.length === 0) return undefined;
      const y = pick(draw, fit);
      return b.reduce(
        kind,
        y,
        dimsOf(y).flatMap((_, a) => (draw(2) === 1 ? [a] : [])),
      );
    }
    case "dot":
      return product(draw, pool);
    case "gather":
    case "scatter":
      return dims.length > 0 ? indexed(op, draw, pool, x, axis) : undefined;
    case "iota":
      return dims.length > 0 ? b.iota(pick(draw, ["i32", "u32", "f32"]), dims, axis) : undefined;
    case "random":
      return b.random(
        b.reshape(b.concat([b.iota("u32", [1], 0), b.expand(b.reshape(b.scalar(draw(9), "u32"), [1]), [1])], 0), [2]),
        b.scalar(draw(3), "u32"),
        dims,
        draw(2) ? 2 : 1,
      );
    case "const":
      return b.scalar(pick(draw, [0, 1, 2, 7]), pick(draw, pool.dtypes));
    case "stopGradient":
      return b.stopGradient(x);
    case "alias":
      return b.build("alias", [x], { tag: draw(4) }) as Node;
    case "assign":
      return b.assign(x, matching(draw, pool, x));
    case "call":
      return b.item(b.call(square(dtypeOf(x), dims, draw(2) ? "square" : 'it\'s\n"odd"'), [x]), 0);
    case "item":
      return b.item(b.build("tuple", [x, pick(draw, pool.nodes)], {}) as Node, draw(2));
    default:
      return undefined;
  }
}

/** A function of one parameter to call. */
function square(dtype: DType, dims: readonly Dim[], name: string): Fn {
  const x = b.build("param", [], { index: 0, name: "x", type: tensorType(dtype, dims) });
  const y = isFull(dtype) && dtype !== "bool" ? b.mul(x, x) : (x as Node);
  return makeFn(name, [x], [y]);
}

function product(draw: Draw, pool: Pool): Node | undefined {
  const fit = ofKind(pool, "float", "int", "uint").filter((n) => dimsOf(n).length > 0);
  if (fit.length === 0) return undefined;
  const a = pick(draw, fit);
  const c = pick(
    draw,
    fit.filter((n) => dtypeOf(n) === dtypeOf(a)),
  );
  const contract: [number[], number[]] = [[], []];
  const batch: [number[], number[]] = [[], []];
  dimsOf(a).forEach((d, i) => {
    const j = dimsOf(c).findIndex((e, k) => dimsEqual([d], [e]) && !contract[1].includes(k) && !batch[1].includes(k));
    const role = draw(3);
    if (j < 0 || role === 0) return;
    const into = role === 1 ? contract : batch;
    into[0].push(i);
    into[1].push(j);
  });
  const rank = dimsOf(a).length + dimsOf(c).length - 2 * contract[0].length - batch[0].length;
  return rank <= 5 ? b.dot(a, c, { contract, batch }) : undefined;
}

function indexed(op: "gather" | "scatter", draw: Draw, pool: Pool, x: Node, axis: number): Node | undefined {
  const ready = pool.nodes.filter((n) => ["i32", "u32"].includes(dtypeOf(n)) && dimsOf(n).length < 3);
  const indices = ready.length > 0 ? pick(draw, ready) : b.sub(b.iota("i32", [3], 0), b.fill(b.scalar(1, "i32"), [3]));
  const dims = [...dimsOf(x).slice(0, axis), ...dimsOf(indices), ...dimsOf(x).slice(axis + 1)];
  if (dims.length > 5) return undefined;
  if (op === "gather") return b.gather(x, indices, axis);
  const updates = b.fill(b.scalar(1 + draw(3), dtypeOf(x)), dims);
  const arithmetic = isFull(dtypeOf(x)) && dtypeOf(x) !== "bool";
  return b.scatter(x, indices, updates, axis, arithmetic && draw(2) ? "add" : "set");
}

const steps = (maxNodes: number) =>
  fc.array(fc.array(fc.nat({ max: 4095 }), { minLength: 4, maxLength: 12 }), { minLength: 1, maxLength: maxNodes });

/** The most elements that a value of a random graph has. */
const largest = 20000;

/** A tensor-level function in a scope of its own. */
export function arbitraryGraph({
  dtypes: allowed = ["f32", "i32"],
  ops = tensorOps,
  maxNodes = 12,
  blocks = [],
  symbolic = false,
}: GraphOptions = {}): fc.Arbitrary<Fn> {
  const choices = 8 + 4 * blocks.length;
  return fc
    .tuple(fc.array(fc.nat({ max: 4095 }), { minLength: choices, maxLength: choices }), steps(maxNodes))
    .map(([head, body]) =>
      within(newScope(), () => {
        const draw = drawFrom(head);
        const n = symbol("n", { lo: 0, hi: 64, multiple: 1 });
        const params = Array.from({ length: 1 + draw(3) }, (_, index) => {
          const dims: readonly Dim[] = symbolic && draw(2) ? pick(draw, [[n], [n, 3], [2, n]]) : pick(draw, shapes);
          return b.build("param", [], { index, name: `p${index}`, type: tensorType(pick(draw, allowed), dims) });
        });
        const held = Array.from({ length: blocks.length > 0 ? 1 + draw(2) : 0 }, (_, i) => {
          const dtype = pick(draw, blocks);
          const n = dtypes[dtype].block;
          const dims = pick(
            draw,
            [[n], [3, n], [n, n], [2, 2 * n]].filter((d) => sizeOfDims(d) <= largest),
          );
          const index = params.length + i;
          return b.build("param", [], { index, name: `p${index}`, type: tensorType(dtype, dims) });
        });
        const pool: Pool = {
          nodes: [...(params as readonly Node[]), ...held.map((w) => dequantize(w))],
          dtypes: allowed,
        };
        for (const numbers of body) {
          const next = drawFrom(numbers);
          const made = step(pick(next, ops), next, pool);
          const dims = made ? dimsOf(made) : [];
          const size = dims.reduce<number>((s, d) => s * (typeof d === "number" ? d : 8), 1);
          if (made && dims.length <= 6 && size <= largest) pool.nodes.push(made);
        }
        return makeFn("graph", [...params, ...held], pool.nodes.slice(-(1 + draw(3))));
      }),
    );
}

/** Arguments for a function: small numbers of every sign, now and then a special one, the same for the same seed. */
export function argumentsFor(fn: Fn, seed: number, symbols: ReadonlyMap<string, number> = new Map()): Value[] {
  let state = (seed ^ 0x9e3779b9) >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
  return fn.params.map((p) => {
    const dtype = dtypeOf(p);
    const dims = dimsOf(p as Node).map((d) => (typeof d === "number" ? d : (symbols.get(d.text) ?? 3)));
    const count = sizeOfDims(dims);
    if (isBlock(dtype)) return decode(dtype, blockBytes(dtype, count, next), dims);
    return valueOf(
      dtype,
      dims,
      Array.from({ length: count }, () => element(dtype, next())),
    );
  });
}

/** Blocks of any bytes, with scales (and minima) of either sign around a tenth: the f16 in front. */
function blockBytes(dtype: BlockDType, count: number, next: () => number): Uint8Array {
  const made = Uint8Array.from({ length: byteSize(dtype, count) }, next);
  for (let at = 0; at < made.length; at += dtypes[dtype].bytes)
    for (const high of dtype === "q4_k" ? [at + 1, at + 3] : [at + 1])
      made[high] = 0x2c | ((made[high] as number) & 0x83);
  return made;
}

function element(dtype: DType, bits: number): number {
  const info = dtypes[dtype];
  if (info.kind === "bool") return bits & 1;
  // Near the ends, where arithmetic wraps.
  if (!isFloat(dtype) && info.bits < 64 && bits % 7 === 0)
    return info.kind === "uint" ? 2 ** info.bits - 1 - (bits % 3) : 2 ** (info.bits - 1) - 1 - (bits % 3);
  if (info.kind === "uint") return bits % 16;
  if (info.kind === "int") return (bits % 17) - 8;
  const special = bits % 97;
  if (special === 0) return 0;
  if (special === 1) return -0;
  return ((bits % 4093) - 2046) / 512;
}

export interface Sample {
  readonly fn: Fn;
  readonly args: readonly Value[];
}

/** A function with arguments for it. */
export const arbitrarySample = (options: GraphOptions = {}): fc.Arbitrary<Sample> =>
  fc.tuple(arbitraryGraph(options), fc.nat()).map(([fn, seed]) => {
    const args = argumentsFor(fn, seed);
    const shown = () => `${print(fn)}\nof ${args.map(({ data }) => `[${[...data].join(" ")}]`).join(", ")}`;
    return { fn, args, [fc.toStringMethod]: shown };
  });

/** A legal kernel: two nests over loads of two inputs, with masks, an accumulation, casts and scratch memory. */
export const arbitraryKernel = (): fc.Arbitrary<Fn> =>
  fc.tuple(fc.array(fc.nat({ max: 4095 }), { minLength: 16, maxLength: 16 }), steps(8)).map(([head, body]) =>
    within(newScope(), () => {
      const draw = drawFrom(head);
      const [m, n, k] = [1 + draw(7), 1 + draw(5), 1 + draw(9)];
      const param = (index: number, name: string, dtype: DType, count: number) =>
        b.build("param", [], { index, name, type: tensorType(dtype, [count]) });
      const stored = pick(draw, ["f32", "f16", "bf16"] satisfies DType[]);
      const params: NodeOf<"param">[] = [
        param(0, "a", stored, m * k),
        param(1, "b", "f32", k * n),
        param(2, "out", "f32", m * n),
      ];
      if (draw(2)) params.push(b.build("param", [], { index: 3, name: "scale", type: tensorType("f32", [], "host") }));
      const [lhs, rhs, out] = params as readonly Node[] as readonly [Node, Node, Node];
      const range = (id: number, extent: number, kind: RangeKind) => b.build("range", [], { id, extent, kind }) as Node;
      const [i, j, r] = [
        range(0, m, pick(draw, ["loop", "parallel", "outer"])),
        range(1, n, pick(draw, ["loop", "unroll", "vector"])),
        range(2, k, "reduce"),
      ];
      const scratch = b.build("scratch", [], { id: 0, type: tensorType("f32", [k * n]) }) as Node;
      const pack = b.build(
        "store",
        [
          scratch,
          flattenIndex([range(3, k, "loop"), range(4, n, "loop")], [k, n]),
          load(rhs, flattenIndex([range(3, k, "loop"), range(4, n, "loop")], [k, n])),
        ],
        {},
      );
      const mask = draw(2) ? b.lt(i, constIndex(m)) : undefined;
      const shifted = draw(2) ? subIndex(addIndex(mulIndex(i, k), r), constIndex(1)) : addIndex(mulIndex(i, k), r);
      const inside = b.lt(constIndex(-1), shifted);
      const values: Node[] = [b.cast(load(lhs, shifted, inside), "f32"), load(scratch, flattenIndex([r, j], [k, n]))];
      for (const numbers of body) values.push(scalarStep(drawFrom(numbers), values));
      let value = b.build("accumulate", [values.at(-1) as Node, r], { kind: pick(draw, ["sum", "max"]) }) as Node;
      if (params[3]) value = b.mul(value, params[3]);
      const store = b.build("store", [out, flattenIndex([i, j], [m, n]), value, ...(mask ? [mask] : [])], {}) as Node;
      const nests: Node[] = [b.build("nest", [pack as Node], { order: [3, 4] }) as Node];
      if (i.op === "range" && i.attr.kind === "outer") {
        const kind = pick(draw, ["serial", "parallel"] as const);
        const row = b.build("nest", [store], { order: [1, 2] }) as Node;
        const limit = kind === "parallel" ? constIndex(m) : b.min(constIndex(m), constIndex(1 + draw(8)));
        nests.push(b.build("loop", [i, limit, row], { kind }) as Node);
      } else nests.push(b.build("nest", [store], { order: [0, 1, 2] }) as Node);
      return makeFn("kernel", params, [b.build("kernel", nests, {}) as Node]);
    }),
  );

const load = (buffer: Node, index: Node, mask?: Node): Node =>
  b.build("load", mask ? [buffer, index, mask] : [buffer, index], {}) as Node;

function scalarStep(draw: Draw, values: readonly Node[]): Node {
  const [x, y] = [pick(draw, values), pick(draw, values)];
  return pick(draw, [b.add, b.mul, b.max, b.neg, b.exp, (p: Node, q: Node) => b.where(b.lt(p, q), p, q)])(x, y);
}

/** Fails unless the values are the same element for element, every NaN being the same. */
export function assertSameValues(actual: readonly Value[], expected: readonly Value[], message: () => string): void {
  const told = (values: readonly Value[]) =>
    values.map(
      ({ dtype, dims, data }) =>
        `${dtype}[${dims.join(", ")}]: ${[...data].map((x) => (Object.is(x, -0) ? "-0" : String(x))).join(" ")}`,
    );
  assert.deepEqual(told(actual), told(expected), message());
}
