/** Convolutions and windows. Neither pads nor dilates its source: that is done by movement before them, and stored, so that their loops
 *  read without masks. Both derivatives of a convolution are convolutions again:
 *
 *    y[n, g, o, p] = Σ x[n, g, c, p·s + k·d] · w[g, o, c, k]     over c, k       x, w: groups g as an axis of their own
 *    ∂x            = ȳ conv (w flipped, c and o exchanged), for each remainder of a division by s (see `spread`)
 *    ∂w            = (x, n and c exchanged) conv (ȳ, n and o exchanged), its elements s apart, in steps of d
 */
import { ShapeError } from "../errors.ts";
import { dot, reduce } from "../interpreter/contraction.ts";
import { permuted, stridesOf, view } from "../interpreter/layout.ts";
import { sizeOfDims, type Value } from "../interpreter/value.ts";
import { isFloat } from "../ir/dtype.ts";
import { type Attrs, dimsOf, dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { tensorType, typeText } from "../ir/type.ts";
import {
  build,
  eq,
  fill,
  flip,
  iota,
  lt,
  mul,
  not,
  or,
  pad,
  permute,
  reshape,
  scalar,
  scatter,
  slice,
  where,
} from "./build.ts";
import { type RareFamily, requireKinds } from "./define.ts";
import { addIndex, knownDims, mulIndex } from "./indexing.ts";
import { load } from "./table.ts";

type Steps = Attrs["conv"];

export const conv = (x: Node, w: Node, { strides, dilations }: Steps): Node =>
  build("conv", [x, w], { strides, dilations });

export const window = (x: Node, attr: Attrs["window"]): Node => build("window", [x], attr);

const ones = (n: number): number[] => Array.from({ length: n }, () => 1);
const all = (n: number, value: number): number[] => Array.from({ length: n }, () => value);
const rangeOf = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

/** How many windows of `size` elements, `dilation` apart, start every `stride` of `length` elements. */
export const windowCount = (length: number, size: number, stride: number, dilation: number): number =>
  Math.max(0, Math.floor((length - dilation * (size - 1) - 1) / stride) + 1);

/** x with step − 1 zeros between neighbours on its last axes, and more (or fewer) elements before and after. */
export function dilate(x: Node, steps: readonly number[], low: readonly number[], high: readonly number[]): Node {
  const dims = knownDims(x);
  const rank = dims.length;
  const lead = rank - steps.length;
  const space = dims.slice(lead);
  let y = x;
  if (steps.some((s) => s > 1)) {
    const split = [...dims.slice(0, lead), ...space.flatMap((d) => [d, 1])];
    const gaps = [...all(lead, 0), ...steps.flatMap((s) => [0, s - 1])];
    const spread = pad(reshape(x, split), all(split.length, 0), gaps);
    const joined = reshape(spread, [...dims.slice(0, lead), ...space.map((d, i) => d * (steps[i] as number))]);
    const kept = space.map((d, i) => Math.max(0, (d - 1) * (steps[i] as number) + 1));
    y = slice(joined, all(rank, 0), [...dims.slice(0, lead), ...kept]);
  }
  if ([...low, ...high].some((a) => a < 0)) {
    const size = knownDims(y)
      .slice(lead)
      .map((d, i) => d + Math.min(low[i] as number, 0) + Math.min(high[i] as number, 0));
    y = slice(y, [...all(lead, 0), ...low.map((l) => Math.max(-l, 0))], [...dims.slice(0, lead), ...size]);
  }
  const grow = (amounts: readonly number[]): number[] => [...all(lead, 0), ...amounts.map((a) => Math.max(a, 0))];
  return pad(y, grow(low), grow(high));
}

/** Σ g[n, g, o, (i − k·d) / s] · w[g, o, c, k] over o and k, where the quotient is whole, for i in `start` … `start + size − 1`: what
 *  a convolution does to its image when it is transposed. Its elements i = q·s + r of one remainder r are a convolution of stride
 *  1 with every s-th element of w, from the r-th on; all remainders are made at once, as so many times the channels.
 *  Source: Shi et al. 2016, arXiv:1609.05158 (sub-pixel convolution). */
export function spread(
  g: Node,
  w: Node,
  { strides, dilations }: Steps,
  start: readonly number[],
  size: readonly number[],
): Node {
  const n = strides.length;
  const space = rangeOf(3, 3 + n);
  const [groups, out, channels, ...window] = knownDims(w) as [number, number, number, ...number[]];
  const [images, , , ...from] = knownDims(g) as [number, number, number, ...number[]];
  if (strides.every((s) => s === 1) || strides.some((s, i) => s > 1 && dilations[i] !== 1)) {
    const over = window.map((k, i) => (k - 1) * (dilations[i] as number));
    const low = over.map((o, i) => o - (start[i] as number));
    const high = low.map((l, i) => {
      const length = Math.max(0, ((from[i] as number) - 1) * (strides[i] as number) + 1);
      return (size[i] as number) + (over[i] as number) - length - l;
    });
    const turned = permute(flip(w, space), [0, 2, 1, ...space]);
    return conv(dilate(g, strides, low, high), turned, { strides: ones(n), dilations });
  }
  // An axis of stride s has min(s, window) remainders, each of so many elements of the window.
  const phases = strides.map((s, i) => Math.min(s, window[i] as number));
  const taps = window.map((k, i) => Math.ceil(k / (phases[i] as number)));
  const cut = strides.map((s, i) => {
    const first = Math.floor((start[i] as number) / s);
    const count = Math.max(0, Math.floor(((start[i] as number) + (size[i] as number) - 1) / s) - first + 1);
    const over = ((taps[i] as number) - 1) * (dilations[i] as number);
    return { first, count, low: over - first, high: count + first - (from[i] as number) };
  });
  const whole = dilate(
    w,
    ones(n),
    all(n, 0),
    window.map((k, i) => (taps[i] as number) * (phases[i] as number) - k),
  );
  // [groups, out, channels, taps₀, phases₀, taps₁, …] → [groups, …phases, channels, out, …taps]
  const pairs = reshape(whole, [groups, out, channels, ...taps.flatMap((t, i) => [t, phases[i] as number])]);
  const [tapAxes, phaseAxes] = [0, 1].map((at) => phases.map((_, i) => 3 + 2 * i + at)) as [number[], number[]];
  const turned = permute(flip(pairs, tapAxes), [0, ...phaseAxes, 2, 1, ...tapAxes]);
  const made = conv(
    dilate(
      g,
      ones(n),
      cut.map(({ low }) => low),
      cut.map(({ high }) => high),
    ),
    reshape(turned, [groups, sizeOfDims(phases) * channels, out, ...taps]),
    { strides: ones(n), dilations },
  );
  const counts = cut.map(({ count }) => count);
  const apart = reshape(made, [images, groups, ...phases, channels, ...counts]);
  const beside = permute(apart, [0, 1, 2 + n, ...phases.flatMap((_, i) => [3 + n + i, 2 + i])]);
  // Remainders that no element of the window has are 0.
  const full = pad(beside, all(3 + 2 * n, 0), [0, 0, 0, ...strides.flatMap((s, i) => [0, s - (phases[i] as number)])]);
  const joined = reshape(full, [images, groups, channels, ...counts.map((c, i) => c * (strides[i] as number))]);
  const begin = cut.map(({ first }, i) => (start[i] as number) - first * (strides[i] as number));
  return slice(joined, [0, 0, 0, ...begin], [images, groups, channels, ...size]);
}

/** What a window op leaves of its source at the end, and how far a window reaches. */
function reach(x: Node, y: Node, sizes: readonly number[], { strides, dilations }: Steps) {
  const lead = dimsOf(x).length - sizes.length;
  const over = sizes.map((k, i) => (dilations[i] as number) * (k - 1));
  const left = over.map((o, i) => {
    const [from, to] = [knownDims(x)[lead + i] as number, knownDims(y)[lead + i] as number];
    return from - ((to - 1) * (strides[i] as number) + o + 1);
  });
  return { over, after: over.map((o, i) => o + (left[i] as number)) };
}

/** Whether there is no window at all: then nothing flows, and the formulas for what is left over do not hold. */
const isEmpty = (y: Node): boolean => sizeOfDims(knownDims(y)) === 0;

function convVjp(g: Node, y: NodeOf<"conv">): (Node | null)[] {
  const [x, w] = y.src as [Node, Node];
  if (isEmpty(y)) return [null, null];
  const { strides, dilations } = y.attr;
  const n = strides.length;
  const space = rangeOf(3, 3 + n);
  const dx = spread(g, w, y.attr, all(n, 0), knownDims(x).slice(3));
  const dw = conv(permute(x, [2, 1, 0, ...space]), permute(g, [1, 2, 0, ...space]), {
    strides: dilations,
    dilations: strides,
  });
  // [c, g, o, k], and windows that x has room for beyond those of w
  const [groups, out, channels, ...sizes] = knownDims(w) as [number, number, number, ...number[]];
  const kept = slice(dw, all(3 + n, 0), [channels, groups, out, ...sizes]);
  return [dx, permute(kept, [1, 2, 0, ...space])];
}

function windowVjp(g: Node, y: NodeOf<"window">): (Node | null)[] {
  const [x] = y.src as [Node];
  const { kind, sizes, strides, dilations } = y.attr;
  if (!isFloat(dtypeOf(x)) || isEmpty(y)) return [null];
  if (kind === "sum") {
    const { over, after } = reach(x, y, sizes, y.attr);
    return [window(dilate(g, strides, over, after), { kind, sizes, strides: ones(sizes.length), dilations })];
  }
  return [winners(g, y)];
}

/** The cotangent of an extremum goes to the first element of its window that has it, or to the last NaN, as in PyTorch. Where
 *  that is, is found along one axis after the other, the last first, by comparing the elements of a window in turn. */
function winners(g: Node, y: NodeOf<"window">): Node {
  const [x] = y.src as [Node];
  const { kind, sizes, strides, dilations } = y.attr;
  const count = sizeOfDims(knownDims(x));
  let best = x;
  let place = reshape(iota("i32", [count], 0), dimsOf(x));
  for (let i = sizes.length - 1; i >= 0; i--) {
    const axis = dimsOf(x).length - sizes.length + i;
    const dims = knownDims(best).with(axis, knownDims(y)[axis] as number);
    const candidates = (v: Node): Node[] =>
      rangeOf(0, sizes[i] as number).map((k) =>
        slice(
          v,
          all(dims.length, 0).with(axis, k * (dilations[i] as number)),
          dims,
          ones(dims.length).with(axis, strides[i] as number),
        ),
      );
    const places = candidates(place);
    const values = candidates(best);
    [best, place] = values.reduce<[Node, Node]>(
      ([value, at], next, k) => {
        const ahead = kind === "max" ? lt(value, next) : lt(next, value);
        const better = or(ahead, not(eq(next, next)));
        return [where(better, next, value), where(better, places[k] as Node, at)];
      },
      [values[0] as Node, places[0] as Node],
    );
  }
  return reshape(scatter(fill(scalar(0, dtypeOf(g)), [count]), place, g, 0, "add"), dimsOf(x));
}

function checkSteps(op: string, x: Node, lead: number, { strides, dilations }: Steps): void {
  const n = dimsOf(x).length - lead;
  const bad = [...strides, ...dilations].some((s) => !Number.isInteger(s) || s < 1);
  if (n < 0 || strides.length !== n || dilations.length !== n || bad)
    throw new ShapeError(
      `${op}: expected a stride and a dilation of at least 1 for each of the last axes of ${typeText(x.type)}, got [${strides.join(", ")}] and [${dilations.join(", ")}]`,
    );
}

const countsOf = (x: Node, lead: number, sizes: readonly number[], { strides, dilations }: Steps): number[] =>
  sizes.map((k, i) => windowCount(knownDims(x)[lead + i] as number, k, strides[i] as number, dilations[i] as number));

/** x seen through windows: [...dims before the windowed axes, ...windows, ...places in a window]. */
function windows(x: Value, lead: number, counts: readonly number[], sizes: readonly number[], at: Steps): Value {
  const strides = stridesOf(x.dims);
  const space = strides.slice(lead);
  return view(x, [...x.dims.slice(0, lead), ...counts, ...sizes], {
    offset: 0,
    strides: [
      ...strides.slice(0, lead),
      ...space.map((s, i) => s * (at.strides[i] as number)),
      ...space.map((s, i) => s * (at.dilations[i] as number)),
    ],
  });
}

/** The indices into the windowed axes: place k of window p. */
const within = (p: readonly Node[], k: readonly Node[], { strides, dilations }: Steps): Node[] =>
  p.map((at, i) => addIndex(mulIndex(at, strides[i] as number), mulIndex(k[i] as Node, dilations[i] as number)));

const accumulated = (attr: Attrs["accumulate"], value: Node, ranges: readonly Node[]): Node => {
  const long = ranges.filter((r) => r.op === "range");
  return long.length === 0 ? value : build("accumulate", [value, ...long], attr);
};

export const convolution = {
  conv: {
    role: "contraction",
    fusion: "anchor",
    rereads: "unmasked",
    arity: 2,
    flops: 2,
    claimable: true,
    attrs: { strides: "integers", dilations: "integers" },
    infer: ([x, w], attr) => {
      const [a, b] = [x as Node, w as Node];
      const dtype = requireKinds("conv", [a, b], ["float", "int", "uint"]);
      checkSteps("conv", a, 3, attr);
      const [n, groups, channels] = knownDims(a) as [number, number, number];
      const [wGroups, out, wChannels, ...sizes] = knownDims(b) as [number, number, number, ...number[]];
      if (dimsOf(a).length !== dimsOf(b).length || groups !== wGroups || channels !== wChannels)
        throw new ShapeError(
          `conv: expected weights [${groups}, out, ${channels}, ...window] for ${typeText(a.type)}, got ${typeText(b.type)}`,
        );
      return tensorType(dtype, [n, groups, out, ...countsOf(a, 3, sizes, attr)]);
    },
    vjp: convVjp,
    // Mapped images are more images; weights mapped alone give more outputs; both are more groups.
    batch: (y, { x, full, has }) => {
      const [n, groups, out, ...space] = knownDims(y) as [number, number, number, ...number[]];
      const [image, weights] = [has[0] === true, has[1] === true];
      const front = (v: Node, at: number): Node =>
        permute(v, [...rangeOf(1, at + 1), 0, ...rangeOf(at + 1, dimsOf(v).length)]);
      const back = (v: Node, at: number): Node =>
        permute(v, [at, ...rangeOf(0, at), ...rangeOf(at + 1, dimsOf(v).length)]);
      /** Two neighbouring axes as one. */
      const joined = (v: Node, at: number): Node => {
        const dims = knownDims(v);
        return reshape(v, [
          ...dims.slice(0, at),
          (dims[at] as number) * (dims[at + 1] as number),
          ...dims.slice(at + 2),
        ]);
      };
      if (!weights) {
        const size = knownDims(x(0))[0] as number;
        return reshape(conv(joined(x(0), 0), x(1), y.attr), [size, n, groups, out, ...space]);
      }
      const size = knownDims(x(1))[0] as number;
      if (!image) {
        const made = conv(x(0), joined(front(x(1), 1), 1), y.attr);
        return back(reshape(made, [n, groups, size, out, ...space]), 2);
      }
      const made = conv(joined(front(full(0), 1), 1), joined(x(1), 0), y.attr);
      return back(reshape(made, [n, size, groups, out, ...space]), 1);
    },
    *lower(y, at, mask, newRange) {
      const [x, w] = y.src as [Node, Node];
      const [n, group, out, ...p] = at as [Node, Node, Node, ...Node[]];
      const [c, ...k] = knownDims(w)
        .slice(2)
        .map((d) => newRange(d, "reduce")) as [Node, ...Node[]];
      const a = yield { node: x, at: [n, group, c, ...within(p, k, y.attr)], mask };
      const b = yield { node: w, at: [group, out, c, ...k], mask };
      return accumulated({ kind: "sum", product: true }, mul(a, b), [c, ...k]);
    },
    evaluate: (y, [x, w], exact) => {
      const [image, weights] = [x as Value, w as Value];
      const n = y.attr.strides.length;
      const sizes = weights.dims.slice(3);
      const counts = sizes.map((k, i) =>
        windowCount(image.dims[3 + i] as number, k, y.attr.strides[i] as number, y.attr.dilations[i] as number),
      );
      const seen = windows(image, 3, counts, sizes, y.attr);
      const space = rangeOf(3 + n, 3 + 2 * n);
      // [groups, images, ...windows, out]
      const made = dot(
        seen,
        weights,
        {
          contract: [
            [2, ...space],
            [2, ...rangeOf(3, 3 + n)],
          ],
          batch: [[1], [0]],
        },
        exact,
      );
      return permuted(made, [1, 0, 2 + n, ...rangeOf(2, 2 + n)]);
    },
  },

  window: {
    role: "reduce",
    fusion: "anchor",
    rereads: "unmasked",
    arity: 1,
    flops: 1,
    claimable: true,
    attrs: { kind: ["sum", "max", "min"], sizes: "integers", strides: "integers", dilations: "integers" },
    infer: ([x], attr) => {
      const node = x as Node;
      const dtype = requireKinds("window", [node], ["float", "int", "uint"]);
      const lead = dimsOf(node).length - attr.sizes.length;
      checkSteps("window", node, lead, attr);
      if (attr.sizes.some((k) => !Number.isInteger(k) || k < 1))
        throw new ShapeError(`window: expected sizes of at least 1, got [${attr.sizes.join(", ")}]`);
      return tensorType(dtype, [...dimsOf(node).slice(0, lead), ...countsOf(node, lead, attr.sizes, attr)]);
    },
    vjp: windowVjp,
    batch: (y, { x }) => window(x(), y.attr),
    *lower(y, at, mask, newRange) {
      const lead = at.length - y.attr.sizes.length;
      const k = y.attr.sizes.map((d) => newRange(d, "reduce"));
      const value = yield {
        node: y.src[0] as Node,
        at: [...at.slice(0, lead), ...within(at.slice(lead), k, y.attr)],
        mask,
      };
      return accumulated({ kind: y.attr.kind }, value, k);
    },
    evaluate: (y, [x], exact) => {
      const value = x as Value;
      const { kind, sizes } = y.attr;
      const lead = value.dims.length - sizes.length;
      const counts = sizes.map((k, i) =>
        windowCount(value.dims[lead + i] as number, k, y.attr.strides[i] as number, y.attr.dilations[i] as number),
      );
      const seen = windows(value, lead, counts, sizes, y.attr);
      return reduce(seen, { kind, axes: rangeOf(lead + sizes.length, lead + 2 * sizes.length) }, exact);
    },
  },
} satisfies RareFamily<"conv" | "window">;

load(convolution);
