/** The backward pass of attention. Tiles of keys along the lanes; for each the tiles of queries that see one of them:
 *
 *    S = q Kᵗ;  P = exp(S · scale − lse);  D = P (g Vᵗ − δ) · scale
 *    dVᵗ += gᵗ P;  dKᵗ += qᵗ D;  dq += D k
 *
 *  Threads share the heads of keys: a dq is written by one of them, tile after tile. */
import { dtypeOf, type Node } from "../ir/node.ts";
import { operandsOf } from "../ops/attention-plain.ts";
import { add, build, cast, exp, lt, max, min, mul, sub, where } from "../ops/build.ts";
import { addIndex, constIndex, divIndex, knownDims, modIndex, mulIndex, subIndex } from "../ops/indexing.ts";
import { cut, finite, inBlocks, keysOf, masking, padded, STEPS, type Tile, toolsOf } from "./attention-tiles.ts";
import type { LowerItems } from "./lower.ts";
import type { Item } from "./nests.ts";
import { rejoined } from "./rejoin.ts";

export const lowerAttentionBackward: LowerItems<"attentionBackward"> = (y, tools) => {
  const { outs, newOuter } = tools;
  const valueAt: typeof tools.valueAt = (x, at) => rejoined(tools.valueAt(x, at));
  const { q, k, v, starts } = operandsOf(y.src, y.attr);
  const [lse, delta, given] = y.src.slice(-3) as [Node, Node, Node];
  const [batch, heads, queries, size] = knownDims(q) as [number, number, number, number];
  const [, kvHeads, keys, width] = knownDims(v) as [number, number, number, number];
  const group = heads / kvHeads;
  const dtype = dtypeOf(q) === "f64" ? "f64" : "f32";
  const lanes = padded(keys);
  const tiles = Math.ceil(keys / lanes);
  const zero = constIndex(0);
  const wide = (x: Node): Node => cast(x, dtype);
  if (batch * heads === 0) return [];

  return inBlocks(batch * kvHeads, newOuter, (block, blocks, unit) => {
    const parts = toolsOf(tools, block, blocks, dtype);
    const { tile, nest, product, total, loop, number } = parts;
    const [b, g] = [divIndex(unit, kvHeads), modIndex(unit, kvHeads)];
    const { count, before, within } = keysOf(y, b, parts, valueAt);
    const masked = masking(y, count, valueAt);
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

    const { whole, rest } = cut(queries, STEPS);
    // The first key that a query of each tile sees.
    const least = starts && tile(1, whole + 1, "i32");
    const leastOf = (given: Node, start: Node, steps: number): Node =>
      total("min", steps, (n) => valueAt(given, [b, addIndex(start, n)]));
    const firsts =
      starts && least
        ? [
            ...(whole > 0
              ? [nest(1, whole, (_, i) => [least.set(zero, i, leastOf(starts, mulIndex(i, STEPS), STEPS))])]
              : []),
            ...(rest > 0
              ? [
                  nest(1, 1, () => [
                    least.set(zero, constIndex(whole), leastOf(starts, constIndex(whole * STEPS), rest)),
                  ]),
                ]
              : []),
          ]
        : [];
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
      // A tile behind all keys is none of a query's.
      const heard = y.attr.lengths ? where(lt(first, count), constIndex(group), zero) : constIndex(group);
      // The first query that sees a key of the tile.
      const from = y.attr.causal
        ? max(
            zero,
            build("idiv", [addIndex(first, subIndex(constIndex(queries), count)), constIndex(STEPS)], {}) as Node,
          )
        : zero;
      /** A tile of queries, unless all of them begin behind this tile of keys. */
      const stepAt = (h: Node, i: Node, steps: number): Item[] => {
        const all = step(h, mulIndex(i, STEPS), steps);
        if (!least) return all;
        const end = addIndex(first, constIndex(lanes));
        return loop(1, where(lt(least.at(zero, i), end), constIndex(1), zero), () => all);
      };
      const perHead = (h: Node): Item[] => [
        // From the last tile on, so that how many there are is the loop's bound.
        ...loop(whole, subIndex(constIndex(whole), from), (i) => stepAt(h, subIndex(constIndex(whole - 1), i), STEPS)),
        ...(rest > 0 ? stepAt(h, constIndex(whole), rest) : []),
      ];
      const store = (to: Node, from: Tile, columns: number): Item =>
        nest(lanes, columns, (lane, c) => {
          const index = addIndex(mulIndex(addIndex(mulIndex(unit, keys), addIndex(first, lane)), columns), c);
          return [build("store", [to, index, cast(from.at(c, lane), dtypeOf(to)), ...isKey(lane)], {})];
        });
      return [
        nest(lanes, size, (lane, d) => [kp.set(lane, d, within(key(lane), wide(valueAt(k, [b, g, key(lane), d]))))]),
        nest(size, lanes, (d, lane) => [kt.set(d, lane, kp.at(lane, d)), dkt.set(d, lane, number(0))]),
        nest(width, lanes, (e, lane) => [
          vt.set(e, lane, within(key(lane), wide(valueAt(v, [b, g, key(lane), e])))),
          dvt.set(e, lane, number(0)),
        ]),
        ...loop(group, heard, perHead),
        ...(dk ? [store(dk, dkt, size)] : []),
        ...(dv ? [store(dv, dvt, width)] : []),
      ];
    };
    return [
      ...before,
      ...firsts,
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
