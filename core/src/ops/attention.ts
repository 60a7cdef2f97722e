/** Scaled dot-product attention as one op, and its backward pass as another. Both keep tiles of the scores alone: what is saved
 *  between them is one number a query, the logarithm of its sum of exponentials, from which the backward pass makes the weights
 *  again (Dao et al. 2022, arXiv:2205.14135; the state of a row is that of Milakov & Gimelshein 2018, alg. 3).
 *
 *    %a = attention(%q, %k, %v)          out = item 0   [batch, heads, T, E]
 *                                        lse = item 1   [batch, heads, T]
 *    %b = attentionBackward(%q, %k, %v, %lse, %delta, %g)      items: dq, dk, dv
 *
 *  A mask, the number of keys and the first key of each query follow %v where there are such. Query head h reads key and value head
 *  ⌊h · kvHeads / heads⌋, which is not repeated. Their meaning, to the interpreter and to second derivatives, is the plain definition in
 *  `attention-plain.ts`. */
import { backward } from "../autodiff/backward.ts";
import { ShapeError } from "../errors.ts";
import { evaluate } from "../interpreter/evaluate.ts";
import type { Value } from "../interpreter/value.ts";
import { type Dim, dimEqual, dimsEqual, dimText, divDim } from "../ir/dim.ts";
import { makeFn } from "../ir/fn.ts";
import { type Attrs, dimsOf, dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { tensorType, type Type, typeText } from "../ir/type.ts";
import { lowerAttention } from "../kernel/attention.ts";
import { lowerAttentionBackward } from "../kernel/attention-backward.ts";
import { type Operands, operandsOf, plainAttention, plainBackward, statisticsOf } from "./attention-plain.ts";
import { build, cast, expand, item, mul, reduce, reshape, sub, zerosLike } from "./build.ts";
import { type RareFamily, requireKinds } from "./define.ts";
import { load, newScope } from "./table.ts";

export type AttentionAttr = Attrs["attention"];

/** @param mask     bool (true where a query sees a key) or the scores' dtype (added to them), [batch, heads, T, S] with ones where
 *                  it is the same for all
 *  @param lengths  i32 [batch]: keys from there on are not read, and the last query is at the key before
 *  @param starts   i32 [batch, T]: keys before it are not seen by the query; tiles that no query of a tile sees are not visited
 *  @returns        the mixed values, and for each query the logarithm of its sum of exponentials, −∞ where it sees no key */
export function attention(
  { q, k, v, mask, lengths, starts }: Operands,
  { causal, scale }: Pick<AttentionAttr, "causal" | "scale">,
): readonly [out: Node, lse: Node] {
  const src = [q, k, v, mask, lengths, starts].filter((n): n is Node => n !== undefined);
  const kind = mask === undefined ? "none" : dtypeOf(mask) === "bool" ? "bool" : "bias";
  const given = { mask: kind, lengths: lengths !== undefined, starts: starts !== undefined } as const;
  const both = build("attention", src, { causal, scale, ...given }) as Node;
  return [item(both, 0), item(both, 1)];
}

/** What the plain definition is asked to be. */
type Definition = (src: readonly Node[], attr: AttentionAttr) => readonly Node[];

const forwardOf: Definition = (src, attr) => plainAttention(operandsOf(src, attr), attr);

const backwardOf: Definition = (src, attr) => {
  const [lse, delta, g] = src.slice(-3) as [Node, Node, Node];
  return plainBackward(operandsOf(src, attr), lse, delta, g, attr);
};

/** Cotangents of the sources through the plain definition. */
const throughPlain = (
  definition: Definition,
  y: NodeOf<"attention" | "attentionBackward">,
  cotangents: readonly (Node | null)[],
): readonly (Node | null)[] => backward(definition(y.src, y.attr), cotangents, y.src);

function pull(
  y: NodeOf<"attention">,
  [g, gLse]: readonly (Node | null)[],
  needed: readonly boolean[],
): readonly (Node | null)[] {
  const { q, k, v, mask } = operandsOf(y.src, y.attr);
  const [out, lse] = [item(y, 0), item(y, 1)];
  const statistics = statisticsOf(dtypeOf(q));
  const given = g ?? zerosLike(out);
  // Σⱼ pᵢⱼ (gᵢ · vⱼ) = gᵢ · outᵢ; a cotangent of the logarithm is the same to every score of the row.
  const inner = reduce("sum", mul(cast(given, statistics), cast(out, statistics)), [3]);
  const delta = gLse ? sub(inner, gLse) : inner;
  const both = build("attentionBackward", [...y.src, lse, delta, given], y.attr) as Node;
  const flows: (Node | null)[] = [q, k, v].map((_, i) => (needed[i] ? item(both, i) : null));
  const biased = mask && y.attr.mask === "bias" && needed[3];
  const ofMask = biased ? (throughPlain(forwardOf, y, [g ?? null, gLse ?? null])[3] ?? null) : null;
  return y.src.map((_, i) => (i < 3 ? (flows[i] ?? null) : i === 3 ? ofMask : null));
}

/** Leading batch axes become one with the mapped one. */
function merged(size: Node): Node {
  const [n, batch, ...rest] = dimsOf(size);
  return reshape(size, [Number(n) * Number(batch), ...rest]);
}

/** The op over a mapped axis: it becomes part of the batch. */
function batched(y: NodeOf<"attention" | "attentionBackward">, full: (i: number) => Node, size: number): Node {
  const batch = dimsOf(y.src[0] as Node)[0] as number;
  const src = y.src.map((s, i) => {
    const all = full(i);
    // A mask that is the same for all of the batch may differ between what is mapped.
    if (dimsOf(s)[0] === 1 && batch !== 1) {
      const [n, , ...rest] = dimsOf(all);
      return merged(expand(all, [n as number, batch, ...rest]));
    }
    return merged(all);
  });
  const made = build(y.op, src, y.attr) as Node;
  const types = "tuple" in y.type ? y.type.tuple : [];
  const items = types.map((t, i) => {
    const dims = "tuple" in t ? [] : t.dims;
    return reshape(item(made, i), [size, ...dims]);
  });
  return build("tuple", items, {}) as Node;
}

/** The plain definition run by the interpreter. */
function run(
  definition: Definition,
  y: NodeOf<"attention" | "attentionBackward">,
  src: readonly Value[],
  exact: boolean,
) {
  const scope = newScope();
  const fn = within(scope, () => {
    const params = y.src.map((s, index) => {
      const { dims } = src[index] as Value;
      return scope.make("param", [], { index, name: "", type: tensorType(dtypeOf(s), dims) });
    });
    return makeFn("attention", params, definition(params, y.attr));
  });
  return evaluate(fn, src, { exact });
}

function inferForward(src: readonly Node[], attr: AttentionAttr): Type {
  const { mask } = attr;
  const { q, k, v, mask: m, lengths, starts } = operandsOf(src, attr);
  const dtype = requireKinds("attention", [q, k, v], ["float"]);
  const [batch, heads, queries, size] = dimsOf(q) as [Dim, Dim, Dim, Dim];
  const [, kvHeads, keys] = dimsOf(k) as [Dim, Dim, Dim];
  const fits =
    [q, k, v].every((n) => dimsOf(n).length === 4) &&
    dimsEqual([batch, size], [dimsOf(k)[0] as Dim, dimsOf(k)[3] as Dim]) &&
    dimsEqual(dimsOf(k).slice(0, 3), dimsOf(v).slice(0, 3)) &&
    divDim(heads, kvHeads) !== undefined;
  if (!fits)
    throw new ShapeError(
      `attention: expected q [batch, heads, T, D], k [batch, kvHeads, S, D], v [batch, kvHeads, S, E], heads a multiple of kvHeads; got ${[q, k, v].map((n) => typeText(n.type)).join(", ")}`,
    );
  const whole = [batch, heads, queries, keys];
  const count = 3 + (mask === "none" ? 0 : 1) + (attr.lengths ? 1 : 0) + (attr.starts ? 1 : 0);
  if (
    src.length !== count ||
    (m && (dimsOf(m).length !== 4 || dimsOf(m).some((d, a) => d !== 1 && !dimEqual(d, whole[a] as Dim))))
  )
    throw new ShapeError(
      `attention: expected ${mask === "none" ? "no mask" : `a mask that broadcasts to [batch, heads, T, S] = [${whole.map(dimText).join(", ")}]`}, got ${m ? typeText(m.type) : "none"}`,
    );
  if (lengths && (dtypeOf(lengths) !== "i32" || !dimsEqual(dimsOf(lengths), [batch])))
    throw new ShapeError(
      `attention: expected the number of keys of each of the batch as i32[${dimText(batch)}], got ${typeText(lengths.type)}`,
    );
  if (starts && (dtypeOf(starts) !== "i32" || !dimsEqual(dimsOf(starts), [batch, queries])))
    throw new ShapeError(
      `attention: expected the first key of each query as i32[${[batch, queries].map(dimText).join(", ")}], got ${typeText(starts.type)}`,
    );
  const out = tensorType(dtype, [...dimsOf(q).slice(0, 3), dimsOf(v)[3] as Dim]);
  return { tuple: [out, tensorType(statisticsOf(dtype), dimsOf(q).slice(0, 3))] };
}

const attrs = {
  causal: "boolean",
  scale: "number",
  mask: ["none", "bool", "bias"],
  lengths: "boolean",
  starts: "boolean",
} as const;

export const attentive = {
  attention: {
    role: "contraction",
    fusion: "sink",
    rereads: "values",
    arity: [3, 6],
    flops: 4,
    claimable: true,
    attrs,
    infer: inferForward,
    pull,
    batch: (y, { full, size }) => batched(y, full, Number(size)),
    lowerItems: lowerAttention,
    evaluate: (y, src, exact) => run(forwardOf, y, src, exact),
  },
  attentionBackward: {
    role: "contraction",
    fusion: "sink",
    rereads: "values",
    arity: [6, 9],
    flops: 10,
    claimable: true,
    attrs,
    infer: (src) => ({ tuple: src.slice(0, 3).map((s) => s.type) }),
    pull: (y, cotangents) => throughPlain(backwardOf, y, cotangents),
    batch: (y, { full, size }) => batched(y, full, Number(size)),
    lowerItems: lowerAttentionBackward,
    evaluate: (y, src, exact) => run(backwardOf, y, src, exact),
  },
} satisfies RareFamily<"attention" | "attentionBackward">;

load(attentive);
