/** A curve of bounded size: however long a run is, its figure is made of at most so many points, each with the mean and the range
 *  of what it stands for. Adding a value costs the same at the millionth step as at the first. */

export interface SeriesData {
  /** The last step of each point. */
  readonly x: readonly number[];
  /** The mean. */
  readonly y: readonly number[];
  /** Least and greatest, once a point stands for several values. */
  readonly low?: readonly number[];
  readonly high?: readonly number[];
}

export interface Series {
  add(x: number, y: number): void;
  /** Forgets what came after a place, where a run goes back; a point that stands for values on both sides goes as a whole. */
  cut(x: number): void;
  data(): SeriesData;
}

/** Keeps at most `limit` points (an even number): when they are full, neighbours are joined and each point stands for twice as many. */
export function series(limit = 1024): Series {
  let x: number[] = [];
  let y: number[] = [];
  let low: number[] = [];
  let high: number[] = [];
  let stride = 1;
  let count = 0;
  let sum = 0;
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  let lastX = 0;

  const halved = (from: readonly number[], join: (a: number, b: number) => number): number[] =>
    Array.from({ length: from.length / 2 }, (_, i) => join(from[2 * i] ?? 0, from[2 * i + 1] ?? 0));
  return {
    add(at, value) {
      if (!Number.isFinite(at) || !Number.isFinite(value)) return;
      lastX = at;
      sum += value;
      least = Math.min(least, value);
      most = Math.max(most, value);
      if (++count < stride) return;
      const mean = rounded(sum / count);
      x.push(at);
      y.push(mean);
      low.push(count === 1 ? mean : rounded(least));
      high.push(count === 1 ? mean : rounded(most));
      [count, sum, least, most] = [0, 0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
      if (x.length < limit) return;
      x = halved(x, (_, b) => b);
      y = halved(y, (a, b) => rounded((a + b) / 2));
      low = halved(low, Math.min);
      high = halved(high, Math.max);
      stride *= 2;
    },
    cut(at) {
      while ((x.at(-1) ?? at) > at) for (const list of [x, y, low, high]) list.pop();
      if (count > 0 && lastX > at)
        [count, sum, least, most] = [0, 0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    },
    data() {
      const open = count > 0;
      const whole = (list: number[], last: number): number[] => (open ? [...list, rounded(last)] : list);
      const middle = { x: open ? [...x, lastX] : x, y: whole(y, sum / count) };
      return stride === 1 ? middle : { ...middle, low: whole(low, least), high: whole(high, most) };
    },
  };
}

/** Six digits: more are not seen, and make the page longer. */
const rounded = (value: number): number => Number(value.toPrecision(6));
