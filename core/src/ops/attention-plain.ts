/** The plain definition of attention and of its backward pass, over whole matrices of scores: what the ops of `attention.ts` mean. */
import { type Dim, known, subDim } from "../ir/dim.ts";
import type { DType } from "../ir/dtype.ts";
import { type Attrs, dimsOf, dtypeOf, type Node } from "../ir/node.ts";
import {
  abs,
  add,
  cast,
  constantLike,
  div,
  dot,
  eq,
  exp,
  expand,
  iota,
  log,
  lt,
  max,
  min,
  mul,
  reduceKeep,
  reshape,
  stopGradient,
  sub,
  where,
  zerosLike,
} from "./build.ts";

export interface Operands {
  readonly q: Node;
  readonly k: Node;
  readonly v: Node;
  readonly mask: Node | undefined;
  readonly lengths: Node | undefined;
  readonly starts?: Node | undefined;
}
type Attr = Attrs["attention"];

/** The sources that both ops begin with. */
export function operandsOf([q, k, v, ...rest]: readonly Node[], { mask, lengths, starts }: Attr): Operands {
  let next = 0;
  const taken = (isThere: boolean): Node | undefined => (isThere ? rest[next++] : undefined);
  const given = { mask: taken(mask !== "none"), lengths: taken(lengths), starts: taken(starts) };
  return { q: q as Node, k: k as Node, v: v as Node, ...given };
}

/** The dtype of scores, sums and logarithms. */
export const statisticsOf = (dtype: DType): DType => (dtype === "f64" ? "f64" : "f32");

const heading = [
  [0, 1],
  [0, 1],
] as const;

/** [batch, kvHeads, group, T, ...] */
const grouped = (x: Node, k: Node): Node => {
  const [batch, heads, ...rest] = dimsOf(x) as [Dim, Dim, ...Dim[]];
  const kvHeads = dimsOf(k)[1] as Dim;
  return reshape(x, [batch, kvHeads, known(heads, "attention") / known(kvHeads, "attention"), ...rest]);
};

const along = (x: Node, like: Node): Node => expand(reshape(x, [...dimsOf(x), 1]), dimsOf(like));
const times = (x: Node, factor: number): Node => mul(x, constantLike(x, factor));

/** [batch, kvHeads, group, T, S], −∞ where a query does not see a key. */
function scoresOf({ q, k, mask, lengths, starts }: Operands, { causal, scale }: Attr): Node {
  const dtype = statisticsOf(dtypeOf(q));
  const product = dot(times(cast(grouped(q, k), dtype), scale), cast(k, dtype), {
    contract: [[4], [3]],
    batch: heading,
  });
  const dims = dimsOf(product);
  const [, kvHeads, group, queries, keys] = dims as [Dim, Dim, Dim, Dim, Dim];
  const whole = (m: Node): Node => {
    const [b, h, t, s] = dimsOf(m) as [Dim, Dim, Dim, Dim];
    return expand(reshape(m, h === 1 ? [b, 1, 1, t, s] : [b, kvHeads, group, t, s]), dims);
  };
  const hidden = constantLike(product, Number.NEGATIVE_INFINITY);
  let scores = product;
  if (mask && dtypeOf(mask) !== "bool") scores = add(scores, cast(whole(mask), dtype));
  if (mask && dtypeOf(mask) === "bool") scores = where(whole(mask), scores, hidden);
  const place = iota("i32", dims, 4);
  const count = lengths && boundedOf(lengths, queries, keys);
  const end = count && expand(reshape(count, [dims[0] as Dim, 1, 1, 1, 1]), dims);
  if (end) scores = where(lt(place, end), scores, hidden);
  if (starts) {
    const first = expand(reshape(starts, [dims[0] as Dim, 1, 1, queries, 1]), dims);
    scores = where(lt(place, first), hidden, scores);
  }
  if (!causal) return scores;
  const from = end
    ? sub(end, constantLike(end, known(queries, "attention") - 1))
    : constantLike(place, known(subDim(keys, queries), "attention") + 1);
  return where(lt(place, add(iota("i32", dims, 3), from)), scores, hidden);
}

/** Numbers of keys without those that mean the same as another, so that sums with them do not overflow. */
export const boundedOf = (lengths: Node, queries: Dim, keys: Dim): Node =>
  min(max(lengths, zerosLike(lengths)), constantLike(lengths, known(queries, "attention") + known(keys, "attention")));

/** Keys and values without what lies behind them, whatever it is. */
function ends({ lengths, ...operands }: Operands): Operands {
  if (!lengths) return { ...operands, lengths };
  const cutOff = (x: Node): Node => {
    const end = expand(reshape(lengths, [dimsOf(x)[0] as Dim, 1, 1, 1]), dimsOf(x));
    return where(lt(iota("i32", dimsOf(x), 2), end), x, zerosLike(x));
  };
  return { ...operands, k: cutOff(operands.k), v: cutOff(operands.v), lengths };
}

const isFinite = (x: Node): Node => lt(abs(x), constantLike(x, Number.POSITIVE_INFINITY));

/** The mixed values and the logarithms of the sums of exponentials. */
export function plainAttention(given: Operands, attr: Attr): readonly [out: Node, lse: Node] {
  const operands = ends(given);
  const { q, v } = operands;
  const s = scoresOf(operands, attr);
  const largest = stopGradient(reduceKeep("max", s, [4]));
  const shift = where(isFinite(largest), largest, zerosLike(largest));
  const e = exp(sub(s, expand(shift, dimsOf(s))));
  const total = reduceKeep("sum", e, [4]);
  const none = eq(total, zerosLike(total));
  const divisor = where(none, constantLike(total, 1), total);
  const weights = div(e, expand(divisor, dimsOf(e)));
  const out = dot(weights, cast(v, dtypeOf(s)), { contract: [[4], [2]], batch: heading });
  const lse = add(log(divisor), where(none, constantLike(total, Number.NEGATIVE_INFINITY), shift));
  const rows = dimsOf(q).slice(0, 3);
  return [cast(reshape(out, [...rows, dimsOf(v)[3] as Dim]), dtypeOf(q)), reshape(lse, rows)];
}

/** dq, dk and dv from the logarithms, Σⱼ pᵢⱼ (gᵢ · vⱼ) of each query (`delta`) and the cotangent of what was mixed. */
export function plainBackward(whole: Operands, lse: Node, delta: Node, g: Node, attr: Attr): readonly Node[] {
  const operands = ends(whole);
  const { q, k, v } = operands;
  const s = scoresOf(operands, attr);
  const dtype = dtypeOf(s);
  const minusInfinity = constantLike(lse, Number.NEGATIVE_INFINITY);
  const norm = where(eq(lse, minusInfinity), zerosLike(lse), lse);
  const p = exp(sub(s, along(grouped(norm, k), s)));
  const [queries, given] = [cast(grouped(q, k), dtype), cast(grouped(g, k), dtype)];
  const dp = dot(given, cast(v, dtype), { contract: [[4], [3]], batch: heading });
  const ds = times(mul(p, sub(dp, along(grouped(delta, k), s))), attr.scale);
  const dq = dot(ds, cast(k, dtype), { contract: [[4], [2]], batch: heading });
  const overQueries = [
    [2, 3],
    [2, 3],
  ] as const;
  const dk = dot(ds, queries, { contract: overQueries, batch: heading });
  const dv = dot(p, given, { contract: overQueries, batch: heading });
  return [
    cast(reshape(dq, dimsOf(q)), dtypeOf(q)),
    cast(reshape(dk, dimsOf(k)), dtypeOf(k)),
    cast(reshape(dv, dimsOf(v)), dtypeOf(v)),
  ];
}
