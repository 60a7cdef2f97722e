/** Attention as loops over tiles of keys, around nests on scratch memory of one block of work: no row of scores is ever whole.
 *
 *    for each tile of queries:  Qᵗ = q · scale;  m = −∞;  l = 0;  Oᵗ = 0
 *      for each tile of keys that one of them sees:
 *        Sᵗ = k Qᵗ                          keys × queries, −∞ where a query does not see a key
 *        m′ = max(m, max Sᵗ);  a = exp(m − m′);  m = m′
 *        Pᵗ = exp(Sᵗ − m);  l = a l + Σ Pᵗ;  Oᵗ = a Oᵗ + vᵗ Pᵗ
 *      out = Oᵗ / l;  lse = m + log l
 *
 *  Queries lie along the lanes, so keys and values are read where they are and no sum crosses lanes. Tiles of keys begin at multiples
 *  of a constant: the order of a row's sums follows from the number of keys alone. Causal tiles that nobody sees are not
 *  visited: the bound of the loop is theirs. Source: Dao 2023, arXiv:2307.08691. */
import { dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { add, build, cast, div, eq, exp, log, lt, max, min, mul, scalar, sub, where } from "../ops/build.ts";
import { addIndex, allOf, constIndex, divIndex, knownDims, modIndex, mulIndex, subIndex } from "../ops/indexing.ts";
import type { ItemTools, LowerItems } from "./lower.ts";
import { type Item, makeNest } from "./nests.ts";

/** Queries of a tile, along the lanes; and keys (in the backward pass the other way round). */
const LANES = 32;
const STEPS = 64;
/** Blocks of work, each with scratch memory of its own: enough to be shared evenly. */
const BLOCKS = 32;

const none = Number.NEGATIVE_INFINITY;

/** A part of the scratch memory: rows of `width`, one array for each block. */
interface Tile {
  readonly at: (row: Node, column: Node) => Node;
  readonly set: (row: Node, column: Node, value: Node) => Node;
}

/** What both kernels are written with. */
function toolsOf(
  { newRange, newOuter, newScratch }: ItemTools,
  block: Node,
  blocks: number,
  dtype: ReturnType<typeof dtypeOf>,
) {
  const tile = (rows: number, width: number): Tile => {
    const buffer = newScratch(dtype, blocks * rows * width);
    const index = (row: Node, column: Node): Node =>
      addIndex(addIndex(mulIndex(block, rows * width), mulIndex(row, width)), column);
    return {
      at: (row, column) => build("load", [buffer, index(row, column)], {}),
      set: (row, column, value) => build("store", [buffer, index(row, column), value], {}),
    };
  };
  /** A nest over these many rows and columns. */
  const nest = (rows: number, columns: number, stores: (row: Node, column: Node) => readonly Node[]): Item => {
    const ranges = [newRange(rows, "loop"), newRange(columns, "loop")] as const;
    return makeNest(
      stores(...ranges),
      ranges.flatMap((r) => (r.op === "range" ? [r.attr.id] : [])),
    );
  };
  const total = (kind: "sum" | "max", terms: number, term: (k: Node) => Node): Node => {
    const k = newRange(terms, "reduce");
    const value = term(k);
    return k.op === "range" ? build("accumulate", [value, k], { kind }) : value;
  };
  const product = (terms: number, term: (k: Node) => readonly [Node, Node]): Node => {
    const k = newRange(terms, "reduce");
    const value = mul(...term(k));
    return k.op === "range" ? build("accumulate", [value, k], { kind: "sum", product: true }) : value;
  };
  const loop = (extent: number, limit: Node, body: (i: Node) => readonly Item[]): Item[] => {
    if (extent === 0) return [];
    const i = newOuter(extent);
    return [build("loop", [i, limit, ...body(i)], { kind: "serial" })];
  };
  return { tile, nest, total, product, loop, number: (x: number): Node => scalar(x, dtype) };
}

/** Few rows are no lanes: keys, or elements of a value, then lie along them. */
const padded = (n: number): number => (n < 4 ? n : Math.min(LANES, Math.ceil(n / 4) * 4));

/** Cuts an extent into whole tiles and what is left. */
const cut = (extent: number, size: number): { readonly whole: number; readonly rest: number } => ({
  whole: Math.floor(extent / size),
  rest: extent % size,
});

/** The work in blocks that run side by side, each its share in turn. `body` is given the block and a piece of work. */
function inBlocks(
  work: number,
  newOuter: ItemTools["newOuter"],
  body: (block: Node, blocks: number, piece: Node) => readonly Item[],
): Item[] {
  const share = Math.ceil(work / BLOCKS);
  const blocks = Math.ceil(work / share);
  const block = newOuter(blocks);
  const inner = newOuter(share);
  const first = mulIndex(block, share);
  const limit = blocks * share === work ? constIndex(share) : min(constIndex(share), subIndex(constIndex(work), first));
  const each = build("loop", [inner, limit, ...body(block, blocks, addIndex(first, inner))], { kind: "serial" });
  return [build("loop", [block, constIndex(blocks), each], { kind: "parallel" })];
}

/** −∞ as a number that can be subtracted. */
const finite = (x: Node): Node => {
  const dtype = dtypeOf(x);
  return where(eq(x, scalar(none, dtype)), scalar(0, dtype), x);
};

/** The condition under which a query sees a key, and what is added to the score. */
function masking(
  y: NodeOf<"attention" | "attentionBackward">,
  mask: Node | undefined,
  valueAt: ItemTools["valueAt"],
): (score: Node, at: readonly [b: Node, h: Node, t: Node, s: Node], inside: readonly (Node | undefined)[]) => Node {
  const queries = knownDims(y.src[0] as Node)[2] as number;
  const keys = knownDims(y.src[1] as Node)[2] as number;
  return (score, [b, h, t, s], inside) => {
    const dtype = dtypeOf(score);
    const given =
      mask &&
      valueAt(
        mask,
        knownDims(mask).map((d, a) => (d === 1 ? constIndex(0) : ([b, h, t, s][a] as Node))),
      );
    const isBool = given && dtypeOf(given) === "bool";
    const biased = given && !isBool ? add(score, cast(given, dtype)) : score;
    const seen = y.attr.causal ? lt(s, addIndex(t, constIndex(keys - queries + 1))) : undefined;
    const condition = allOf([...inside, seen, isBool ? given : undefined]);
    return condition ? where(condition, biased, scalar(none, dtype)) : biased;
  };
}

export const lowerAttention: LowerItems<"attention"> = (y, tools) => {
  const { outs, newOuter, valueAt } = tools;
  const [q, k, v, mask] = y.src as [Node, Node, Node, Node?];
  const [batch, heads, queries, size] = knownDims(q) as [number, number, number, number];
  const [, kvHeads, keys, width] = knownDims(v) as [number, number, number, number];
  const group = heads / kvHeads;
  const dtype = dtypeOf(q) === "f64" ? "f64" : "f32";
  // Where a head has few queries, those of all heads that share keys are one tile.
  const together = group * queries <= LANES;
  const rows = together ? group * queries : queries;
  const lanes = padded(rows);
  const tiles = Math.ceil(rows / lanes);
  const outer = together ? batch * kvHeads : batch * heads;
  const offset = keys - queries;
  const masked = masking(y, mask, valueAt);
  if (outer * rows === 0) return [];

  return inBlocks(outer * tiles, newOuter, (block, blocks, piece) => {
    const { tile, nest, total, product, loop, number } = toolsOf(tools, block, blocks, dtype);
    const head = divIndex(piece, tiles);
    const first = mulIndex(modIndex(piece, tiles), lanes);
    const kv = together ? head : divIndex(head, group);
    const [b, g] = [divIndex(kv, kvHeads), modIndex(kv, kvHeads)];
    /** Where the query of a lane is; the lanes behind the last one repeat it. */
    const place = (lane: Node): readonly [b: Node, h: Node, t: Node] => {
      const row = addIndex(first, lane);
      const inRows = tiles * lanes === rows ? row : min(row, constIndex(rows - 1));
      if (!together) return [b, modIndex(head, heads), inRows];
      return [b, addIndex(mulIndex(g, group), divIndex(inRows, queries)), modIndex(inRows, queries)];
    };
    const isQuery = (lane: Node): Node[] =>
      tiles * lanes === rows ? [] : [lt(addIndex(first, lane), constIndex(rows))];
    const wide = (x: Node): Node => cast(x, dtype);
    const zero = constIndex(0);

    const qt = tile(size, lanes);
    const st = tile(STEPS, lanes);
    const ot = tile(width, lanes);
    const [m, next, factor, l] = [tile(1, lanes), tile(1, lanes), tile(1, lanes), tile(1, lanes)];

    const step = (start: Node, steps: number): Item[] => [
      nest(steps, lanes, (n, lane) => {
        const key = addIndex(start, n);
        const score = product(size, (d) => [wide(valueAt(k, [b, g, key, d])), qt.at(d, lane)]);
        return [st.set(n, lane, masked(score, [...place(lane), key], []))];
      }),
      nest(1, lanes, (_, lane) => [
        next.set(
          zero,
          lane,
          max(
            m.at(zero, lane),
            total("max", steps, (n) => st.at(n, lane)),
          ),
        ),
      ]),
      nest(1, lanes, (_, lane) => [
        factor.set(zero, lane, exp(sub(m.at(zero, lane), finite(next.at(zero, lane))))),
        m.set(zero, lane, next.at(zero, lane)),
      ]),
      nest(steps, lanes, (n, lane) => [st.set(n, lane, exp(sub(st.at(n, lane), finite(m.at(zero, lane)))))]),
      nest(1, lanes, (_, lane) => [
        l.set(
          zero,
          lane,
          add(
            mul(l.at(zero, lane), factor.at(zero, lane)),
            total("sum", steps, (n) => st.at(n, lane)),
          ),
        ),
      ]),
      nest(width, lanes, (e, lane) => {
        const mixed = product(steps, (n) => [wide(valueAt(v, [b, g, addIndex(start, n), e])), st.at(n, lane)]);
        return [ot.set(e, lane, add(mul(ot.at(e, lane), factor.at(zero, lane)), mixed))];
      }),
    ];
    const { whole, rest } = cut(keys, STEPS);
    // The last query of the tile sees keys below this.
    const end = together ? constIndex(keys) : addIndex(first, constIndex(lanes + offset));
    const seen = (count: number): Node =>
      y.attr.causal && !together
        ? min(constIndex(count), build("idiv", [addIndex(end, constIndex(STEPS - 1)), constIndex(STEPS)], {}) as Node)
        : constIndex(count);
    const sum = (lane: Node): Node => l.at(zero, lane);
    const isEmpty = (lane: Node): Node => eq(sum(lane), number(0));
    const [out, lse] = outs;
    const flat = (lane: Node): Node => addIndex(mulIndex(head, rows), addIndex(first, lane));
    return [
      nest(size, lanes, (d, lane) => {
        const [at0, at1, at2] = place(lane);
        return [qt.set(d, lane, mul(wide(valueAt(q, [at0, at1, at2, d])), number(y.attr.scale)))];
      }),
      nest(1, lanes, (_, lane) => [m.set(zero, lane, number(none)), l.set(zero, lane, number(0))]),
      nest(width, lanes, (e, lane) => [ot.set(e, lane, number(0))]),
      ...loop(whole, seen(whole), (j) => step(mulIndex(j, STEPS), STEPS)),
      ...(rest > 0 ? step(constIndex(whole * STEPS), rest) : []),
      ...(out
        ? [
            nest(lanes, width, (lane, e) => {
              const value = div(ot.at(e, lane), where(isEmpty(lane), number(1), sum(lane)));
              const index = addIndex(mulIndex(flat(lane), width), e);
              return [build("store", [out, index, cast(value, dtypeOf(q)), ...isQuery(lane)], {})];
            }),
          ]
        : []),
      ...(lse
        ? [
            nest(1, lanes, (_, lane) => {
              const value = where(isEmpty(lane), number(none), add(m.at(zero, lane), log(sum(lane))));
              return [build("store", [lse, flat(lane), value, ...isQuery(lane)], {})];
            }),
          ]
        : []),
    ];
  });
};

/** Tiles of keys along the lanes; for each the tiles of queries that see one of them:
 *
 *    S = q Kᵗ;  P = exp(S · scale − lse);  D = P (g Vᵗ − δ) · scale
 *    dVᵗ += gᵗ P;  dKᵗ += qᵗ D;  dq += D k
 *
 *  Threads share the heads of keys: a dq is written by one of them, tile after tile. */
export const lowerAttentionBackward: LowerItems<"attentionBackward"> = (y, tools) => {
  const { outs, newOuter, valueAt } = tools;
  const [q, k, v] = y.src as [Node, Node, Node];
  const mask = y.src.length > 6 ? y.src[3] : undefined;
  const [lse, delta, given] = y.src.slice(-3) as [Node, Node, Node];
  const [batch, heads, queries, size] = knownDims(q) as [number, number, number, number];
  const [, kvHeads, keys, width] = knownDims(v) as [number, number, number, number];
  const group = heads / kvHeads;
  const dtype = dtypeOf(q) === "f64" ? "f64" : "f32";
  const lanes = padded(keys);
  const tiles = Math.ceil(keys / lanes);
  const offset = keys - queries;
  const masked = masking(y, mask, valueAt);
  const zero = constIndex(0);
  const wide = (x: Node): Node => cast(x, dtype);
  if (batch * heads === 0) return [];

  return inBlocks(batch * kvHeads, newOuter, (block, blocks, unit) => {
    const { tile, nest, product, loop, number } = toolsOf(tools, block, blocks, dtype);
    const [b, g] = [divIndex(unit, kvHeads), modIndex(unit, kvHeads)];
    const [kt, vt, kp] = [tile(size, lanes), tile(width, lanes), tile(lanes, size)];
    const [dkt, dvt] = [tile(size, lanes), tile(width, lanes)];
    const [p, ds] = [tile(STEPS, lanes), tile(STEPS, lanes)];
    const [dq, dk, dv] = outs;
    const accumulatesQ = dq !== undefined;
    // Sums over tiles are kept in the dtype of the scores.
    const own = dq && dtypeOf(dq) === dtype ? undefined : tile(group * queries, size);
    const row = (h: Node, t: Node): Node => addIndex(mulIndex(h, queries), t);
    const dqIndex = (h: Node, t: Node, d: Node): Node =>
      addIndex(mulIndex(addIndex(mulIndex(unit, group * queries), row(h, t)), size), d);
    const dqAt = (h: Node, t: Node, d: Node): Node =>
      own ? own.at(row(h, t), d) : build("load", [dq as Node, dqIndex(h, t, d)], {});
    const setDq = (h: Node, t: Node, d: Node, value: Node): Node =>
      own ? own.set(row(h, t), d, value) : build("store", [dq as Node, dqIndex(h, t, d), value], {});

    const body = (j: Node): Item[] => {
      const first = mulIndex(j, lanes);
      const isKey = (lane: Node): Node[] =>
        tiles * lanes === keys ? [] : [lt(addIndex(first, lane), constIndex(keys))];
      const key = (lane: Node): Node => {
        const at = addIndex(first, lane);
        return tiles * lanes === keys ? at : min(at, constIndex(keys - 1));
      };
      const step = (h: Node, start: Node, steps: number): Item[] => {
        const head = addIndex(mulIndex(g, group), h);
        const at = (n: Node): readonly [Node, Node, Node] => [b, head, addIndex(start, n)];
        return [
          nest(steps, lanes, (n, lane) => [
            p.set(
              n,
              lane,
              product(size, (d) => [wide(valueAt(q, [...at(n), d])), kt.at(d, lane)]),
            ),
          ]),
          nest(steps, lanes, (n, lane) => [
            ds.set(
              n,
              lane,
              product(width, (e) => [wide(valueAt(given, [...at(n), e])), vt.at(e, lane)]),
            ),
          ]),
          nest(steps, lanes, (n, lane) => {
            const score = masked(mul(p.at(n, lane), number(y.attr.scale)), [...at(n), key(lane)], isKey(lane));
            const weight = exp(sub(score, finite(valueAt(lse, at(n)))));
            const slope = mul(mul(weight, sub(ds.at(n, lane), valueAt(delta, at(n)))), number(y.attr.scale));
            return [p.set(n, lane, weight), ds.set(n, lane, slope)];
          }),
          ...(dv
            ? [
                nest(width, lanes, (e, lane) => {
                  const sum = product(steps, (n) => [wide(valueAt(given, [...at(n), e])), p.at(n, lane)]);
                  return [dvt.set(e, lane, add(dvt.at(e, lane), sum))];
                }),
              ]
            : []),
          ...(dk
            ? [
                nest(size, lanes, (d, lane) => {
                  const sum = product(steps, (n) => [wide(valueAt(q, [...at(n), d])), ds.at(n, lane)]);
                  return [dkt.set(d, lane, add(dkt.at(d, lane), sum))];
                }),
              ]
            : []),
          ...(accumulatesQ
            ? [
                nest(steps, size, (n, d) => {
                  const t = addIndex(start, n);
                  const sum = product(lanes, (lane) => [ds.at(n, lane), kp.at(lane, d)]);
                  return [setDq(h, t, d, add(dqAt(h, t, d), sum))];
                }),
              ]
            : []),
        ];
      };
      const { whole, rest } = cut(queries, STEPS);
      // The first query that sees a key of the tile.
      const from = y.attr.causal
        ? max(zero, build("idiv", [addIndex(first, constIndex(-offset)), constIndex(STEPS)], {}) as Node)
        : zero;
      const perHead = (h: Node): Item[] => [
        // From the last tile on, so that how many there are is the loop's bound.
        ...loop(whole, subIndex(constIndex(whole), from), (i) =>
          step(h, mulIndex(subIndex(constIndex(whole - 1), i), STEPS), STEPS),
        ),
        ...(rest > 0 ? step(h, constIndex(whole * STEPS), rest) : []),
      ];
      const store = (to: Node, from: Tile, columns: number): Item =>
        nest(lanes, columns, (lane, c) => {
          const index = addIndex(mulIndex(addIndex(mulIndex(unit, keys), addIndex(first, lane)), columns), c);
          return [build("store", [to, index, cast(from.at(c, lane), dtypeOf(to)), ...isKey(lane)], {})];
        });
      return [
        nest(lanes, size, (lane, d) => [kp.set(lane, d, wide(valueAt(k, [b, g, key(lane), d])))]),
        nest(size, lanes, (d, lane) => [kt.set(d, lane, kp.at(lane, d)), dkt.set(d, lane, number(0))]),
        nest(width, lanes, (e, lane) => [
          vt.set(e, lane, wide(valueAt(v, [b, g, key(lane), e]))),
          dvt.set(e, lane, number(0)),
        ]),
        ...loop(group, constIndex(group), perHead),
        ...(dk ? [store(dk, dkt, size)] : []),
        ...(dv ? [store(dv, dvt, width)] : []),
      ];
    };
    return [
      ...(accumulatesQ ? [nest(group * queries, size, (r, d) => [setDq(zero, r, d, number(0))])] : []),
      ...loop(tiles, constIndex(tiles), body),
      ...(dq && own
        ? [
            nest(group * queries, size, (r, d) => [
              build("store", [dq, dqIndex(zero, r, d), cast(own.at(r, d), dtypeOf(dq))], {}),
            ]),
          ]
        : []),
    ];
  });
};
