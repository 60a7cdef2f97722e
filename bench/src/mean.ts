/** Many cases in two figures: the geometric mean of them all beside the best peer's of each, and the case at which that peer is
 *  the furthest ahead. */
import { beside, type Figure, type Peer, type Unit } from "./figure.ts";

/** A case that a peer was measured on as well. */
export interface Pair {
  readonly name: string;
  readonly ours: number;
  readonly theirs: readonly Peer[];
}

const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((total, v) => total + Math.log(v), 0) / values.length);

/** `mean` and `least` of the pairs beside the best of their peers; nothing where no pair has one. */
export function* summary(
  of: Pick<Figure, "bench" | "device" | "threads"> & { readonly unit: Unit },
  pairs: readonly Pair[],
  { mean, least, best }: { readonly mean: string; readonly least?: string; readonly best: string },
): Generator<Figure> {
  const isHigherBetter = beside({ ...of, case: "", value: 2 }, [{ name: "", version: "", value: 1 }])[0]?.ratio === 2;
  const rows = pairs
    .filter(({ theirs }) => theirs.length > 0)
    .map(({ name, ours, theirs }) => {
      const values = theirs.map(({ value }) => value);
      const top = isHigherBetter ? Math.max(...values) : Math.min(...values);
      return { name, ours, top, ratio: isHigherBetter ? ours / top : top / ours };
    });
  const [worst] = rows.toSorted((a, b) => a.ratio - b.ratio);
  if (!worst) return;
  const peer = (value: number): Peer[] => [{ name: best, version: "of each", value }];
  const ahead = rows.filter(({ ratio }) => ratio > 1).length;
  yield* beside(
    {
      ...of,
      case: mean,
      value: geometricMean(rows.map(({ ours }) => ours)),
      note: `${rows.length} cases, ${ahead} faster than every peer`,
    },
    peer(geometricMean(rows.map(({ top }) => top))),
  );
  if (least !== undefined) yield* beside({ ...of, case: least, value: worst.ours, note: worst.name }, peer(worst.top));
}
