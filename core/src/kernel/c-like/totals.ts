/** How partial results of an accumulate become one. */
import { type Lanes, one, only, type Text } from "./lanes.ts";
import type { ScalarOp } from "./vectors.ts";
import { combiner, operators } from "./text.ts";
import type { DType } from "../../ir/dtype.ts";
import type { ReduceKind } from "../../ir/node.ts";
import type { RangeNode } from "../nests.ts";

export class Totals {
  readonly #lanes: Lanes;
  readonly #lane: RangeNode | undefined;
  readonly #helper: (op: ScalarOp, dtype: DType, from: DType) => string;

  constructor(lanes: Lanes, lane: RangeNode | undefined, helper: (op: ScalarOp, dtype: DType, from: DType) => string) {
    this.#lanes = lanes;
    this.#lane = lane;
    this.#helper = helper;
  }

  combined(kind: ReduceKind, a: Text, b: Text, dtype: DType): Text {
    if (a.element !== undefined || b.element !== undefined) return this.#lanes.combine(kind, dtype, a, b);
    const operator = operators[combiner[kind]];
    const [x, y] = [only(a), only(b)];
    return one(operator ? `(${x} ${operator} ${y})` : `${this.#helper(combiner[kind], dtype, dtype)}(${x}, ${y})`);
  }

  /** Partial results p = 0 … n−1 become one: while there are several, p takes p + ⌈n/2⌉ to itself. */
  halves(kind: ReduceKind, partials: readonly Text[], dtype: DType): Text {
    let left = partials;
    while (left.length > 1) {
      const half = Math.ceil(left.length / 2);
      const all = left;
      left = all
        .slice(0, half)
        .map((x, p) => (p + half < all.length ? this.combined(kind, x, all[p + half] as Text, dtype) : x));
    }
    return left[0] as Text;
  }

  /** The same where lanes are partial results too: vectors as long as they come in pairs, then the lanes. */
  across(
    kind: ReduceKind,
    rows: readonly Text[],
    side: readonly RangeNode[],
    dtype: DType,
    name: (text: Text) => Text,
  ): Text {
    const lanes = this.#lanes;
    let whole = rows;
    const isLast = side.at(-1) === this.#lane;
    if (isLast)
      while (whole.length > 1 && whole.length % 2 === 0) {
        const half = whole.length / 2;
        const all = whole;
        whole = all.slice(0, half).map((row, i) => this.combined(kind, row, all[i + half] as Text, dtype));
      }
    if (isLast && whole.length === 1) return one(lanes.total(kind, dtype, name(whole[0] as Text), name));
    const named = whole.map(name);
    const stride = side.slice(side.indexOf(this.#lane as RangeNode) + 1).reduce((c, r) => c * r.attr.extent, 1);
    const scalars: Text[] = [];
    for (let block = 0; block < named.length; block += stride)
      for (let lane = 0; lane < lanes.width; lane++)
        for (let i = 0; i < stride; i++) scalars.push(one(lanes.extract(named[block + i] as Text, dtype, lane)));
    return this.halves(kind, scalars, dtype);
  }
}
