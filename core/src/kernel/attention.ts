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
 *  visited, nor are keys behind those that there are, or before the first that a query of the tile sees: the bounds of the loop are
 *  theirs. Source: Dao 2023, arXiv:2307.08691. */
import { dtypeOf, type Node } from "../ir/node.ts";
import { operandsOf } from "../ops/attention-plain.ts";
import { add, build, cast, div, eq, exp, log, lt, max, min, mul, sub, where } from "../ops/build.ts";
import { addIndex, constIndex, divIndex, knownDims, modIndex, mulIndex, subIndex } from "../ops/indexing.ts";
import { cut, FEW, finite, inBlocks, keysOf, LANES, masking, none, padded, STEPS, toolsOf } from "./attention-tiles.ts";
import type { LowerItems } from "./lower.ts";
import type { Item } from "./nests.ts";
import { rejoined } from "./rejoin.ts";

export const lowerAttention: LowerItems<"attention"> = (y, tools) => {
  const { outs, newOuter } = tools;
  const valueAt: typeof tools.valueAt = (x, at) => rejoined(tools.valueAt(x, at));
  const { q, k, v, starts } = operandsOf(y.src, y.attr);
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
  if (outer * rows === 0) return [];

  return inBlocks(outer * tiles, newOuter, (block, blocks, piece) => {
    const own = toolsOf(tools, block, blocks, dtype);
    const { tile, nest, total, product, loop, number } = own;
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
    const { count, before, within } = keysOf(y, b, own, valueAt);
    const masked = masking(y, count, valueAt);

    const qt = tile(size, lanes);
    const st = tile(STEPS, lanes);
    const ot = tile(width, lanes);
    const [m, next, factor, l] = [tile(1, lanes), tile(1, lanes), tile(1, lanes), tile(1, lanes)];

    const scores = (start: Node, before: Node, steps: number): Item =>
      nest(steps, lanes, (n, lane) => {
        const key = addIndex(addIndex(start, before), n);
        const score = product(size, (d) => [wide(valueAt(k, [b, g, key, d])), qt.at(d, lane)]);
        return [st.set(addIndex(before, n), lane, masked(score, [...place(lane), key], []))];
      });
    // A query that is alone waits for memory, so keys behind the last one are not read: its scores are made for a few keys at a time.
    const scoresOfOne = (start: Node, steps: number): Item[] => {
      const there = min(constIndex(steps), subIndex(count, start));
      const limit = build("idiv", [addIndex(there, constIndex(FEW - 1)), constIndex(FEW)], {}) as Node;
      return [
        nest(steps, lanes, (n, lane) => [st.set(n, lane, number(none))]),
        ...loop(steps / FEW, limit, (j) => [scores(start, mulIndex(j, FEW), FEW)]),
      ];
    };
    const step = (start: Node, steps: number): Item[] => [
      ...(rows === 1 && y.attr.lengths && steps % FEW === 0 ? scoresOfOne(start, steps) : [scores(start, zero, steps)]),
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
        const mixed = product(steps, (n) => {
          const key = addIndex(start, n);
          return [within(key, wide(valueAt(v, [b, g, key, e]))), st.at(n, lane)];
        });
        return [ot.set(e, lane, add(mul(ot.at(e, lane), factor.at(zero, lane)), mixed))];
      }),
    ];
    const { whole, rest } = cut(keys, STEPS);
    // The last query of the tile sees keys below this.
    const last = y.attr.causal && !together ? addIndex(first, addIndex(count, constIndex(lanes - queries))) : undefined;
    const end = last && y.attr.lengths ? min(count, last) : (last ?? count);
    const seen =
      end.op === "const"
        ? constIndex(whole)
        : min(constIndex(whole), build("idiv", [addIndex(end, constIndex(STEPS - 1)), constIndex(STEPS)], {}) as Node);
    // Tiles before the one that holds the first key of a query are masked for all: leaving them out changes no bit.
    const held = starts && tile(1, 1, "i32");
    const from = held?.at(zero, zero);
    const firstTile = (given: Node): Node => {
      const least = total("min", lanes, (lane) => {
        const [at0, , at2] = place(lane);
        return valueAt(given, [at0, at2]);
      });
      return build("idiv", [max(least, zero), constIndex(STEPS)], {}) as Node;
    };
    const tail = rest > 0 ? step(constIndex(whole * STEPS), rest) : [];
    const sum = (lane: Node): Node => l.at(zero, lane);
    const isEmpty = (lane: Node): Node => eq(sum(lane), number(0));
    const [out, lse] = outs;
    const flat = (lane: Node): Node => addIndex(mulIndex(head, rows), addIndex(first, lane));
    return [
      ...before,
      ...(starts && held ? [nest(1, 1, () => [held.set(zero, zero, firstTile(starts))])] : []),
      nest(size, lanes, (d, lane) => {
        const [at0, at1, at2] = place(lane);
        return [qt.set(d, lane, mul(wide(valueAt(q, [at0, at1, at2, d])), number(y.attr.scale)))];
      }),
      nest(1, lanes, (_, lane) => [m.set(zero, lane, number(none)), l.set(zero, lane, number(0))]),
      nest(width, lanes, (e, lane) => [ot.set(e, lane, number(0))]),
      ...(from
        ? loop(whole, subIndex(seen, from), (j) => step(mulIndex(addIndex(from, j), STEPS), STEPS))
        : loop(whole, seen, (j) => step(mulIndex(j, STEPS), STEPS))),
      ...(y.attr.lengths && rest > 0
        ? loop(1, min(constIndex(1), addIndex(end, constIndex(-whole * STEPS))), () => tail)
        : tail),
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
