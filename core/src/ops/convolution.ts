/** Convolutions, and the derivative of their weights, which are two sides of one sum:
 *
 *    y[n, g, o, p]  = Σ x[n, g, c, p·s + k·d] · w[g, o, c, k]     over c, k       x, w: groups g as an axis of their own
 *    ∂x             = ȳ conv (w turned, c and o exchanged), for each remainder of a division by s (see `spread`)
 *    ∂w[g, o, c, k] = Σ x[n, g, c, p·s + k·d] · ȳ[n, g, o, p]     over n, p
 *
 *  Neither dilates its source: that is done by movement before it. What it pads with becomes movement too, and is stored, so that
 *  loops read without masks; as a part of it, its derivatives know that nobody wants those of the padding. */
import { ShapeError } from "../errors.ts";
import { dot } from "../interpreter/contraction.ts";
import { permuted } from "../interpreter/layout.ts";
import * as movement from "../interpreter/movement.ts";
import { sizeOfDims, type Value } from "../interpreter/value.ts";
import { type Attrs, dimsOf, dtypeOf, type Edge, type Node, type NodeOf } from "../ir/node.ts";
import { tensorType, typeText } from "../ir/type.ts";
import type { Making } from "../kernel/value-at.ts";
import { build, concat, flip, mul, pad, permute, reshape, scalar, slice, where } from "./build.ts";
import { type RareFamily, requireKinds } from "./define.ts";
import { dilate } from "./dilate.ts";
import { allOf, betweenIndex, constIndex, knownDims, subIndex } from "./indexing.ts";
import {
  accumulated,
  all,
  checkSteps,
  countsOf,
  isEmpty,
  ones,
  rangeOf,
  type Remainders,
  remaindersOf,
  type Steps,
  windows,
  within,
} from "./sliding.ts";
import { canonicalRules, load } from "./table.ts";

/** Without what is not said: no padding, and no zeros that are known. */
function whole({ strides, dilations, low, high, zeros = [] }: Steps): Attrs["conv"] {
  const none = strides.map(() => 0);
  return { strides, dilations, low: low ?? none, high: high ?? none, zeros };
}

export const conv = (x: Node, w: Node, steps: Steps): Node => build("conv", [x, w], whole(steps));

export const convWeights = (x: Node, g: Node, { sizes, ...steps }: Steps & Pick<Attrs["convWeights"], "sizes">): Node =>
  build("convWeights", [x, g], { ...whole(steps), sizes });

/** Σ g[n, g, o, (i − k·d) / s] · w[g, o, c, k] over o and k, where the quotient is whole, for i in `start` … `start + size − 1`: what
 *  a convolution does to its image when it is transposed. Its elements i = q·s + r of one remainder r are a convolution of stride
 *  1 with every s-th element of w, from the r-th on; remainders of as many elements are made at once, as so many times the channels.
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
    return around(g, strides, [low, high], turned, dilations);
  }
  // An axis of stride s has min(s, window) remainders, each of so many elements of the window.
  const phases = strides.map((s, i) => Math.min(s, window[i] as number));
  const taps = window.map((k, i) => Math.ceil(k / (phases[i] as number)));
  // Zeros before the window, where there is room for them among its remainders, let the elements that are wanted begin with remainder 0.
  const before = strides.map((s, i) => {
    const shift = s * Math.ceil((start[i] as number) / s) - (start[i] as number);
    return phases[i] === s && (window[i] as number) + shift <= (taps[i] as number) * s ? shift : 0;
  });
  const begins = before.map((shift, i) => (start[i] as number) + shift);
  const cut = strides.map((s, i) => {
    const first = Math.floor((begins[i] as number) / s);
    const count = Math.max(0, Math.floor(((begins[i] as number) + (size[i] as number) - 1) / s) - first + 1);
    const over = ((taps[i] as number) - 1) * (dilations[i] as number);
    return { first, count, low: over - first, high: count + first - (from[i] as number) };
  });
  const whole = dilate(
    w,
    ones(n),
    before,
    window.map((k, i) => (taps[i] as number) * (phases[i] as number) - k - (before[i] as number)),
  );
  // [groups, out, channels, taps₀, phases₀, taps₁, …] → [groups, …phases, channels, out, …taps]
  const pairs = reshape(whole, [groups, out, channels, ...taps.flatMap((t, i) => [t, phases[i] as number])]);
  const [tapAxes, phaseAxes] = [0, 1].map((at) => phases.map((_, i) => 3 + 2 * i + at)) as [number[], number[]];
  const turned = permute(flip(pairs, tapAxes), [0, ...phaseAxes, 2, 1, ...tapAxes]);
  const counts = cut.map(({ count }) => count);
  /** For some remainders of each axis, which have the same elements of the window. */
  const part = (pieces: readonly Remainders[]): Node => {
    const some = pieces.map(({ from, to }) => to - from);
    const left = pieces.map(({ begin, end }) => end - begin);
    const at = [0, ...pieces.map(({ from }) => from), 0, 0, ...pieces.map(({ end }, i) => (taps[i] as number) - end)];
    const low = cut.map((c, i) => c.low - (at[3 + n + i] as number) * (dilations[i] as number));
    const high = cut.map((c, i) => c.high - (pieces[i] as Remainders).begin * (dilations[i] as number));
    const weights = slice(turned, at, [groups, ...some, channels, out, ...left]);
    const own = reshape(weights, [groups, sizeOfDims(some) * channels, out, ...left]);
    const made = around(g, ones(n), [low, high], own, dilations);
    return reshape(made, [images, groups, ...some, channels, ...counts]);
  };
  const axes = phases.map((p, i) => remaindersOf(p, before[i] as number, window[i] as number));
  const over = (i: number, chosen: readonly Remainders[]): Node => {
    const [first, ...more] = (axes[i] ?? []).map((piece) => over(i + 1, [...chosen, piece]));
    return first && more.length > 0 ? concat([first, ...more], 2 + i) : (first ?? part(chosen));
  };
  const apart = over(0, []);
  const beside = permute(apart, [0, 1, 2 + n, ...phases.flatMap((_, i) => [3 + n + i, 2 + i])]);
  // Remainders that no element of the window has are 0.
  const full = pad(beside, all(3 + 2 * n, 0), [0, 0, 0, ...strides.flatMap((s, i) => [0, s - (phases[i] as number)])]);
  const joined = reshape(full, [images, groups, channels, ...counts.map((c, i) => c * (strides[i] as number))]);
  const begin = cut.map(({ first }, i) => (begins[i] as number) - first * (strides[i] as number));
  return slice(joined, [0, 0, 0, ...begin], [images, groups, channels, ...size]);
}

/** The convolution, in steps of 1, of g dilated and with so many elements more, or fewer, before and after. */
function around(
  g: Node,
  steps: readonly number[],
  [low, high]: readonly [readonly number[], readonly number[]],
  w: Node,
  dilations: readonly number[],
): Node {
  const [less, more] = [Math.min, Math.max].map((side) => [low, high].map((amounts) => amounts.map((a) => side(a, 0))));
  const [cutLow, cutHigh] = less as [number[], number[]];
  const [padLow, padHigh] = more as [number[], number[]];
  const strides = ones(steps.length);
  return conv(dilate(g, steps, cutLow, cutHigh), w, { strides, dilations, low: padLow, high: padHigh });
}

function convVjp(g: Node, y: NodeOf<"conv">): (Node | null)[] {
  const [x, w] = y.src as [Node, Node];
  if (isEmpty(y)) return [null, null];
  const sizes = knownDims(w).slice(3);
  return [spread(g, w, y.attr, y.attr.low, knownDims(x).slice(3)), convWeights(x, g, { ...y.attr, sizes })];
}

function convWeightsVjp(h: Node, y: NodeOf<"convWeights">): (Node | null)[] {
  const [x, g] = y.src as [Node, Node];
  if (isEmpty(y) || isEmpty(g)) return [null, null];
  const space = knownDims(g).slice(3);
  // Windows that x has room for beyond those of g have no part in y.
  const dg = conv(x, h, y.attr);
  const kept = slice(dg, all(3 + space.length, 0), [...knownDims(dg).slice(0, 3), ...space]);
  return [spread(g, h, y.attr, y.attr.low, knownDims(x).slice(3)), kept];
}

/** The source with its zeros; x if it has none. */
function padded(x: Node, { low, high }: Attrs["conv"]): Node {
  const amounts = [...low, ...high];
  return amounts.every((a) => a === 0) ? x : pad(x, [0, 0, 0, ...low], [0, 0, 0, ...high]);
}

/** The element of x that place k of window p has; 0 for one of the padding. */
function* seen(
  x: Node,
  attr: Attrs["conv"],
  { around, p, k, mask }: { around: readonly Node[]; p: readonly Node[]; k: readonly Node[]; mask: Node | undefined },
): Making {
  const at = within(p, k, attr).map((i, a) => subIndex(i, constIndex(attr.low[a] as number)));
  const isPadded = [...attr.low, ...attr.high].some((a) => a > 0);
  const inside = isPadded ? allOf(at.map((i, a) => betweenIndex(i, knownDims(x)[3 + a] as number))) : undefined;
  const value = yield { node: x, at: [...around, ...at], mask: allOf([mask, inside]) };
  return inside ? where(inside, value, scalar(0, dtypeOf(x))) : value;
}

/** The attributes of one whose source is padded already. */
const unpadded = <A extends Attrs["conv"]>(attr: A): A => ({
  ...attr,
  low: attr.low.map(() => 0),
  high: attr.high.map(() => 0),
  zeros: [...attr.low, ...attr.high],
});

/** The sum of products, which knows where x is zeros. */
function summed(x: Node, { zeros }: Attrs["conv"]): Attrs["accumulate"] {
  const space = knownDims(x).slice(3);
  const edges = space.map(
    (extent, a): Edge => [
      space.slice(a + 1).reduce((n, d) => n * d, 1),
      extent,
      zeros[a] ?? 0,
      zeros[space.length + a] ?? 0,
    ],
  );
  const known = edges.filter(([, , low, high]) => low + high > 0);
  return { kind: "sum", product: true, ...(known.length > 0 ? { edges: known } : {}) };
}

function widened(x: Value, { low, high }: Attrs["conv"], exact: boolean): Value {
  const dims = x.dims.map((d, i) => d + (low[i - 3] ?? 0) + (high[i - 3] ?? 0));
  return movement.pad(x, [0, 0, 0, ...low], dims, 0, exact);
}

/** The first axis brought to a place, and back. */
const front = (v: Node, at: number): Node =>
  permute(v, [...rangeOf(1, at + 1), 0, ...rangeOf(at + 1, dimsOf(v).length)]);
const back = (v: Node, at: number): Node => permute(v, [at, ...rangeOf(0, at), ...rangeOf(at + 1, dimsOf(v).length)]);

/** Two neighbouring axes as one. */
function joined(v: Node, at: number): Node {
  const dims = knownDims(v);
  return reshape(v, [...dims.slice(0, at), (dims[at] as number) * (dims[at + 1] as number), ...dims.slice(at + 2)]);
}

export const convolution = {
  conv: {
    role: "contraction",
    fusion: "anchor",
    rereads: "unmasked",
    arity: 2,
    flops: 2,
    claimable: true,
    attrs: { strides: "integers", dilations: "integers", low: "integers", high: "integers", zeros: "integers" },
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
      return tensorType(dtype, [n, groups, out, ...countsOf(knownDims(a).slice(3), sizes, attr)]);
    },
    vjp: convVjp,
    // Mapped images are more images; weights mapped alone give more outputs; both are more groups.
    batch: (y, { x, full, has }) => {
      const [n, groups, out, ...space] = knownDims(y) as [number, number, number, ...number[]];
      const [image, weights] = [has[0] === true, has[1] === true];
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
      const a = yield* seen(x, y.attr, { around: [n, group, c], p, k, mask });
      const b = yield { node: w, at: [group, out, c, ...k], mask };
      return accumulated(summed(x, y.attr), mul(a, b), [c, ...k]);
    },
    evaluate: (y, [x, w], exact) => {
      const [source, weights] = [x as Value, w as Value];
      const n = y.attr.strides.length;
      const sizes = weights.dims.slice(3);
      const counts = countsOf(source.dims.slice(3), sizes, y.attr);
      const seen = windows(widened(source, y.attr, exact), 3, counts, sizes, y.attr);
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

  convWeights: {
    role: "contraction",
    fusion: "anchor",
    rereads: "unmasked",
    arity: 2,
    flops: 2,
    claimable: true,
    attrs: {
      strides: "integers",
      dilations: "integers",
      low: "integers",
      high: "integers",
      zeros: "integers",
      sizes: "integers",
    },
    infer: ([x, g], attr) => {
      const [a, b] = [x as Node, g as Node];
      const dtype = requireKinds("convWeights", [a, b], ["float", "int", "uint"]);
      checkSteps("convWeights", a, 3, attr);
      const [n, groups, channels, ...space] = knownDims(a) as [number, number, number, ...number[]];
      const [images, gGroups, out, ...counts] = knownDims(b) as [number, number, number, ...number[]];
      const room = countsOf(space, attr.sizes, attr);
      if (
        n !== images ||
        groups !== gGroups ||
        room.length !== counts.length ||
        room.some((r, i) => r < (counts[i] ?? 0))
      )
        throw new ShapeError(
          `convWeights: expected [${n}, ${groups}, out, ...windows] of at most [${room.join(", ")}] windows for ${typeText(a.type)}, got ${typeText(b.type)}`,
        );
      return tensorType(dtype, [groups, out, channels, ...attr.sizes]);
    },
    vjp: convWeightsVjp,
    // Images that are mapped alone have more channels; cotangents give more outputs; both are more groups.
    batch: (y, { x, has }) => {
      const [groups, out, channels, ...sizes] = knownDims(y) as [number, number, number, ...number[]];
      const [image, cotangent] = [has[0] === true, has[1] === true];
      const size = knownDims(x(image ? 0 : 1))[0] as number;
      if (!cotangent) {
        const made = convWeights(joined(front(x(0), 2), 2), x(1), y.attr);
        return back(reshape(made, [groups, out, size, channels, ...sizes]), 2);
      }
      if (!image) {
        const made = convWeights(x(0), joined(front(x(1), 2), 2), y.attr);
        return back(reshape(made, [groups, size, out, channels, ...sizes]), 1);
      }
      const made = convWeights(joined(front(x(0), 1), 1), joined(front(x(1), 1), 1), y.attr);
      return reshape(made, [size, groups, out, channels, ...sizes]);
    },
    *lower(y, at, mask, newRange) {
      const [x, g] = y.src as [Node, Node];
      const [group, out, c, ...k] = at as [Node, Node, Node, ...Node[]];
      const [images, , , ...counts] = knownDims(g) as [number, number, number, ...number[]];
      const [n, ...p] = [images, ...counts].map((d) => newRange(d, "reduce")) as [Node, ...Node[]];
      const a = yield* seen(x, y.attr, { around: [n, group, c], p, k, mask });
      const b = yield { node: g, at: [n, group, out, ...p], mask };
      return accumulated(summed(x, y.attr), mul(a, b), [n, ...p]);
    },
    evaluate: (y, [x, g], exact) => {
      const [image, cotangent] = [widened(x as Value, y.attr, exact), g as Value];
      const { strides, dilations, sizes } = y.attr;
      const n = strides.length;
      const counts = cotangent.dims.slice(3);
      // Elements of a window are windows of g's size, in steps of the other kind.
      const seen = windows(image, 3, sizes, counts, { strides: dilations, dilations: strides });
      const [inner, outer] = [rangeOf(3 + n, 3 + 2 * n), rangeOf(3, 3 + n)];
      // [groups, channels, ...sizes, out]
      const made = dot(
        seen,
        cotangent,
        {
          contract: [
            [0, ...inner],
            [0, ...outer],
          ],
          batch: [[1], [1]],
        },
        exact,
      );
      return permuted(made, [0, 2 + n, 1, ...rangeOf(2, 2 + n)]);
    },
  },
} satisfies RareFamily<"conv" | "convWeights">;

load(convolution);
canonicalRules.conv = ({ src: [x, w], attr }) => {
  const image = padded(x as Node, attr);
  return image === x ? undefined : conv(image, w as Node, unpadded(attr));
};
canonicalRules.convWeights = ({ src: [x, g], attr }) => {
  const image = padded(x as Node, attr);
  return image === x ? undefined : convWeights(image, g as Node, unpadded(attr));
};
