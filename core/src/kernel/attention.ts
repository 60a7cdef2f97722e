/** Attention as loops over tiles of keys, around nests on scratch memory of one block of work: no row of scores is ever whole.
 *
 *    for each tile of queries:  Qᵗ = q · scale;  m = −∞;  l = 0;  Oᵗ = 0
 *      for each tile of keys that one of them sees:
 *        Sᵗ = k Qᵗ                          keys × queries, −∞ where a query does not see a key
 *        m′ = max(m, max Sᵗ);  a = exp(m − m′);  m = m′
 *        Pᵗ = exp(Sᵗ − m);  l = a l + Σ Pᵗ;  Oᵗ = a Oᵗ + vᵗ Pᵗ
 *      out = Oᵗ / l;  lse = m + log l
 *
 *  Keys are taken in parts of 1024 that have a state (m, l, O) of their own, which are joined in order:
 *        m′ = max(m, mₚ);  l = l exp(m − m′) + lₚ exp(mₚ − m′);  O likewise
 *  Where there are few queries, each part is a piece of work, and a second loop joins them.
 *
 *  Queries lie along the lanes, so keys and values are read where they are and no sum crosses lanes; where they are few, keys do. Tiles
 *  and parts of keys begin at multiples of a constant: the order of a row's sums follows from the number of keys alone. Causal tiles that
 *  nobody sees are not visited, nor are keys behind those that there are, or before the first that a query of the tile sees: the bounds
 *  of the loop are theirs. Source: Dao 2023, arXiv:2307.08691. */
import { dtypeOf, type Node } from "../ir/node.ts";
import { operandsOf } from "../ops/attention-plain.ts";
import { add, build, cast, div, eq, exp, log, lt, max, min, mul, sub, where } from "../ops/build.ts";
import { addIndex, constIndex, divIndex, knownDims, modIndex, mulIndex, subIndex } from "../ops/indexing.ts";
import {
  BLOCKS,
  cut,
  FEW,
  finite,
  inBlocks,
  keysOf,
  LANES,
  masking,
  none,
  padded,
  PART,
  type State,
  KEYS,
  type Tile,
  tileIn,
  toolsOf,
} from "./attention-tiles.ts";
import type { LowerItems } from "./lower.ts";
import type { Item } from "./nests.ts";
import { rejoined } from "./rejoin.ts";

export const lowerAttention: LowerItems<"attention"> = (y, tools) => {
  const { outs, newOuter, newScratch } = tools;
  const valueAt: typeof tools.valueAt = (x, at) => rejoined(tools.valueAt(x, at));
  const { q, k, v, starts } = operandsOf(y.src, y.attr);
  const [batch, heads, queries, size] = knownDims(q) as [number, number, number, number];
  const [, kvHeads, keys, width] = knownDims(v) as [number, number, number, number];
  const group = heads / kvHeads;
  const dtype = dtypeOf(q) === "f64" ? "f64" : "f32";
  // Where a head has few queries, those of all heads that share keys are one tile.
  const together = group * queries <= LANES;
  const rows = together ? group * queries : queries;
  // A tile of few queries has a row for each of them, and keys, or elements of a value, lie along the lanes. Seven and eight fill two
  // vectors of four lanes, for which keys need not be turned.
  const isUpright = rows < 7 || (rows > 8 && rows <= 12);
  const lanes = isUpright ? rows : padded(rows);
  const inOrder = (n: number): [number, number] => (isUpright ? [lanes, n] : [n, lanes]);
  const upright = ({ at, set }: Tile): Tile =>
    isUpright ? { at: (i, lane) => at(lane, i), set: (i, lane, value) => set(lane, i, value) } : { at, set };
  const tiles = Math.ceil(rows / lanes);
  const outer = together ? batch * kvHeads : batch * heads;
  if (outer * rows === 0) return [];
  const parts = Math.max(1, Math.ceil(keys / PART));
  const zero = constIndex(0);

  /** The work on a tile of queries.
   *  @param first  the first of its rows */
  const workOn = (block: Node, blocks: number, head: Node, first: Node) => {
    const own = toolsOf(tools, block, blocks, dtype);
    const { tile, nest, total, product, loop, number } = own;
    /** A tile of this many numbers for each lane, and a nest over them. */
    const perLane = (n: number): Tile => upright(tile(...inOrder(n)));
    const overLanes = (n: number, stores: (i: Node, lane: Node) => readonly Node[]): Item =>
      isUpright ? nest(lanes, n, (lane, i) => stores(i, lane)) : nest(n, lanes, stores);
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
    const { count, before, within } = keysOf(y, b, own, valueAt);
    const masked = masking(y, count, valueAt);

    const qt = perLane(size);
    const st = perLane(KEYS);
    const [next, factor, other] = [tile(1, lanes), tile(1, lanes), tile(1, lanes)];

    const scores = (start: Node, before: Node, steps: number): Item =>
      overLanes(steps, (n, lane) => {
        const key = addIndex(addIndex(start, before), n);
        const score = product(size, (d) => [wide(valueAt(k, [b, g, key, d])), qt.at(d, lane)]);
        return [st.set(addIndex(before, n), lane, masked(score, [...place(lane), key], []))];
      });
    // Few queries wait for memory, so keys behind the last one are not read: scores are made for a few keys at a time.
    const scoresOfFew = (start: Node, steps: number): Item[] => {
      const there = min(constIndex(steps), subIndex(count, start));
      const limit = build("idiv", [addIndex(there, constIndex(FEW - 1)), constIndex(FEW)], {}) as Node;
      return [
        overLanes(steps, (n, lane) => [st.set(n, lane, number(none))]),
        ...loop(steps / FEW, limit, (j) => [scores(start, mulIndex(j, FEW), FEW)]),
      ];
    };
    const step = ({ m, l, o }: State, start: Node, steps: number): Item[] => [
      ...(isUpright && y.attr.lengths && steps % FEW === 0 ? scoresOfFew(start, steps) : [scores(start, zero, steps)]),
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
      overLanes(steps, (n, lane) => [st.set(n, lane, exp(sub(st.at(n, lane), finite(m.at(zero, lane)))))]),
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
      overLanes(width, (e, lane) => {
        const mixed = product(steps, (n) => {
          const key = addIndex(start, n);
          return [within(key, wide(valueAt(v, [b, g, key, e]))), st.at(n, lane)];
        });
        return [o.set(e, lane, add(mul(o.at(e, lane), factor.at(zero, lane)), mixed))];
      }),
    ];
    const { whole, rest } = cut(keys, KEYS);
    // The last query of the tile sees keys below this.
    const last = y.attr.causal && !together ? addIndex(first, addIndex(count, constIndex(lanes - queries))) : undefined;
    const end = last && y.attr.lengths ? min(count, last) : (last ?? count);
    /** How many pieces of so many keys one of them sees, of all that there are. */
    const seenOf = (keysOfOne: number, all: number): Node =>
      end.op === "const"
        ? constIndex(all)
        : min(
            constIndex(all),
            build("idiv", [addIndex(end, constIndex(keysOfOne - 1)), constIndex(keysOfOne)], {}) as Node,
          );
    // Tiles before the one that holds the first key of a query are masked for all: leaving them out changes no bit.
    const held = starts && tile(1, 1, "i32");
    const firstTile = (given: Node): Node => {
      const least = total("min", lanes, (lane) => {
        const [at0, , at2] = place(lane);
        return valueAt(given, [at0, at2]);
      });
      return build("idiv", [max(least, zero), constIndex(KEYS)], {}) as Node;
    };
    /** Goes through the tiles of a part. */
    const through = (state: State, part: Node): Item[] => {
      const isOne = parts === 1;
      const from = mulIndex(part, PART / KEYS);
      const seen = isOne ? seenOf(KEYS, whole) : min(constIndex(PART / KEYS), subIndex(seenOf(KEYS, whole), from));
      const skipped = held && (isOne ? held.at(zero, zero) : max(zero, subIndex(held.at(zero, zero), from)));
      const extent = isOne ? whole : PART / KEYS;
      const tail = rest > 0 ? step(state, constIndex(whole * KEYS), rest) : [];
      const conditions = [
        ...(y.attr.lengths ? [addIndex(end, constIndex(-whole * KEYS))] : []),
        ...(isOne ? [] : [addIndex(part, constIndex(2 - parts))]),
      ];
      return [
        ...(skipped
          ? loop(extent, subIndex(seen, skipped), (j) =>
              step(state, mulIndex(addIndex(addIndex(from, skipped), j), KEYS), KEYS),
            )
          : loop(extent, seen, (j) => step(state, mulIndex(addIndex(from, j), KEYS), KEYS))),
        ...(conditions.length > 0 && rest > 0
          ? loop(
              1,
              conditions.reduce((least, c) => min(least, c), constIndex(1)),
              () => tail,
            )
          : tail),
      ];
    };
    const clear = ({ m, l, o }: State): Item[] => [
      nest(1, lanes, (_, lane) => [m.set(zero, lane, number(none)), l.set(zero, lane, number(0))]),
      overLanes(width, (e, lane) => [o.set(e, lane, number(0))]),
    ];
    /** Adds a part to those before it. */
    const join = ({ m, l, o }: State, part: State): Item[] => [
      nest(1, lanes, (_, lane) => [next.set(zero, lane, max(m.at(zero, lane), part.m.at(zero, lane)))]),
      nest(1, lanes, (_, lane) => [
        factor.set(zero, lane, exp(sub(m.at(zero, lane), finite(next.at(zero, lane))))),
        other.set(zero, lane, exp(sub(part.m.at(zero, lane), finite(next.at(zero, lane))))),
        m.set(zero, lane, next.at(zero, lane)),
      ]),
      nest(1, lanes, (_, lane) => [
        l.set(
          zero,
          lane,
          add(mul(l.at(zero, lane), factor.at(zero, lane)), mul(part.l.at(zero, lane), other.at(zero, lane))),
        ),
      ]),
      overLanes(width, (e, lane) => [
        o.set(e, lane, add(mul(o.at(e, lane), factor.at(zero, lane)), mul(part.o.at(e, lane), other.at(zero, lane)))),
      ]),
    ];
    const [out, lse] = outs;
    const flat = (lane: Node): Node => addIndex(mulIndex(head, rows), addIndex(first, lane));
    const store = ({ m, l, o }: State): Item[] => {
      const sum = (lane: Node): Node => l.at(zero, lane);
      const isEmpty = (lane: Node): Node => eq(sum(lane), number(0));
      return [
        ...(out
          ? [
              nest(lanes, width, (lane, e) => {
                const value = div(o.at(e, lane), where(isEmpty(lane), number(1), sum(lane)));
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
    };
    const begin = (): Item[] => [
      ...(starts && held ? [nest(1, 1, () => [held.set(zero, zero, firstTile(starts))])] : []),
      overLanes(size, (d, lane) => {
        const [at0, at1, at2] = place(lane);
        return [qt.set(d, lane, mul(wide(valueAt(q, [at0, at1, at2, d])), number(y.attr.scale)))];
      }),
    ];
    const state = (): State => ({ m: tile(1, lanes), l: tile(1, lanes), o: perLane(width) });
    return { before, begin, clear, through, join, store, state, loop, seenParts: seenOf(PART, parts) };
  };

  // The parts are pieces of work where there are few others.
  if (together && parts > 1 && outer < BLOCKS) {
    const [ms, ls, os] = [1, 1, width].map((n) => newScratch(dtype, outer * parts * n * lanes)) as [Node, Node, Node];
    const stateOf = (piece: Node): State => ({
      m: tileIn(ms, piece, 1, lanes),
      l: tileIn(ls, piece, 1, lanes),
      o: upright(tileIn(os, piece, ...inOrder(width))),
    });
    return [
      ...inBlocks(outer * parts, newOuter, (block, blocks, piece) => {
        const part = modIndex(piece, parts);
        const work = workOn(block, blocks, divIndex(piece, parts), zero);
        const state = stateOf(piece);
        const items = [...work.begin(), ...work.clear(state), ...work.through(state, part)];
        // Nothing is read of a part behind the last key.
        const isSeen = min(constIndex(1), subIndex(work.seenParts, part));
        return [...work.before, ...(y.attr.lengths ? work.loop(1, isSeen, () => items) : items)];
      }),
      ...inBlocks(outer, newOuter, (block, blocks, head) => {
        const work = workOn(block, blocks, head, zero);
        const all = work.state();
        return [
          ...work.before,
          ...work.clear(all),
          ...work.loop(parts, work.seenParts, (p) => work.join(all, stateOf(addIndex(mulIndex(head, parts), p)))),
          ...work.store(all),
        ];
      }),
    ];
  }
  return inBlocks(outer * tiles, newOuter, (block, blocks, piece) => {
    const first = mulIndex(modIndex(piece, tiles), lanes);
    const work = workOn(block, blocks, divIndex(piece, tiles), first);
    const all = work.state();
    const start = [...work.before, ...work.begin(), ...work.clear(all)];
    if (parts === 1) return [...start, ...work.through(all, zero), ...work.store(all)];
    const state = work.state();
    const each = work.loop(parts, work.seenParts, (p) => [
      ...work.clear(state),
      ...work.through(state, p),
      ...work.join(all, state),
    ]);
    return [...start, ...each, ...work.store(all)];
  });
};
