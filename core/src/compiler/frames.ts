/** Images that are padded for the windows of those who read them are stored so by the kernel that makes them, and not copied by another one:
 *
 *    %y = max(conv(%x, %w), 0)                   %f = framed(max(conv(%x, %w), 0))    one group, which stores %f
 *    %z = conv(pad(%y), %v)                →     %z = conv(%f, %v)
 *    %s = add(%z, %y)                            %s = add(%z, slice(%f))
 *
 *  Who else reads the image finds it within its frame. It is speed alone: a device adds the pass, and a small page does without. */
import { dimEqual, dimsEqual, sizeOf } from "../ir/dim.ts";
import { type Fn, makeFn, nodesOf, usersOf } from "../ir/fn.ts";
import { dimsOf, type Node, type NodeOf } from "../ir/node.ts";
import { currentScope, onBehalf, remake, within } from "../ir/scope.ts";
import { reshape, slice } from "../ops/build.ts";
import { framed } from "../ops/framed.ts";
import { define, newScope } from "../ops/table.ts";
import { passes } from "./compile.ts";
import { storageOf } from "./groups.ts";

/** From here on images are stored in frames. */
export const frameImages = (): void => void passes.push({ name: "frame-images", run: frameAll });

type Users = ReadonlyMap<Node, readonly Node[]>;

function frameAll(fn: Fn): Fn {
  const order = nodesOf(fn);
  /** The paddings that are to be frames, by the images that they pad. */
  const frames = new Map<Node, NodeOf<"pad">>();
  const pads = order.filter((n) => n.op === "pad");
  if (pads.length === 0) return fn;
  const users = usersOf(order);
  const results = new Set(fn.results.map(storageOf));
  for (const p of pads) {
    const image = storageOf(p.src[0] as Node);
    const others = readersOf(image, users).filter((n) => n !== p);
    if (
      !frames.has(image) &&
      !results.has(image) &&
      !results.has(storageOf(p)) &&
      others.every(readsAnywhere) &&
      (users.get(p) ?? []).every((n) => isWindowed(n)) &&
      isAlong(image, p) &&
      isMadeByWindows(image, axesOf(p), frames)
    )
      frames.set(image, p);
  }
  return frames.size > 0 ? rebuilt(fn, order, frames) : fn;
}

function rebuilt(fn: Fn, order: readonly Node[], frames: ReadonlyMap<Node, NodeOf<"pad">>): Fn {
  return within(newScope(), () => {
    const known = new Map<Node, Node>();
    const framesOf = new Map<Node, Node>();
    const now = (n: Node): Node => known.get(n) as Node;
    for (const n of order) {
      const frame = framesOf.get(n);
      const own = frame ? reshape(frame, dimsOf(n)) : remake(currentScope(), n, n.src.map(now));
      const padding = frames.get(n);
      known.set(n, padding ? inFrame(own, padding, framesOf) : own);
    }
    return makeFn(
      fn.name,
      fn.params.map((p) => now(p) as NodeOf<"param">),
      fn.results.map(now),
    );
  });
}

/** The image as others read it within its frame. */
function inFrame(image: Node, padding: NodeOf<"pad">, framesOf: Map<Node, Node>): Node {
  const { low, high, value } = padding.attr as { low: readonly number[]; high: readonly number[]; value: number };
  const axes = axesOf(padding);
  const sides = { low: low.slice(-axes), high: high.slice(-axes) };
  const frame = onBehalf(image.site, () => framed(image, { ...sides, value }));
  framesOf.set(padding, frame);
  const start = dimsOf(image).map((_, a) => low.at(a - dimsOf(image).length) ?? 0);
  return slice(frame, start, dimsOf(image));
}

/** Over how many of the last axes a padding goes. */
function axesOf({ attr: { low, high } }: NodeOf<"pad">): number {
  const first = low.findIndex((_, a) => low[a] !== 0 || high[a] !== 0);
  return low.length - first;
}

/** Who reads a value, as it is or reshaped. */
function readersOf(image: Node, users: Users): Node[] {
  const own = users.get(image) ?? [];
  return own.flatMap((n) => (n.op === "reshape" ? readersOf(n, users) : [n]));
}

const isWindowed = ({ op }: Node): boolean => op === "conv" || op === "convWeights" || op === "window";

/** Whether it is as easily read within a frame. */
const readsAnywhere = (n: Node): boolean =>
  define(n.op).role === "elementwise" || n.op === "conv" || n.op === "convWeights";

/** Whether an image has the axes that are padded. */
function isAlong(image: Node, padding: NodeOf<"pad">): boolean {
  const axes = axesOf(padding);
  return dimsEqual(dimsOf(image).slice(-axes), dimsOf(padding.src[0] as Node).slice(-axes));
}

/** Whether more than one element of its source makes one of its own, or not every one does. */
function hasWindows(n: Node): boolean {
  if (n.op === "window") return true;
  if (n.op !== "conv") return false;
  const [, weights] = n.src as [Node, Node];
  return (
    n.attr.strides.some((s) => s > 1) ||
    dimsOf(weights)
      .slice(3)
      .some((k) => k !== 1)
  );
}

/** Whether a value is element-wise of what windows over these axes make. Without windows neighbouring axes are one loop, which a frame
 *  would cut. */
function isMadeByWindows(image: Node, axes: number, frames: ReadonlyMap<Node, Node>): boolean {
  const size = sizeOf(dimsOf(image));
  const space = dimsOf(image).slice(-axes);
  const seen = new Set<Node>();
  const open = [image];
  let found = false;
  for (let n = open.pop(); n; n = open.pop()) {
    if (seen.has(n) || (n !== image && frames.has(n))) continue;
    seen.add(n);
    const { role, fusion } = define(n.op);
    if (fusion) {
      if (!hasWindows(n) || !dimsEqual(dimsOf(n).slice(-axes), space)) return false;
      found = true;
    } else if (role === "elementwise" || n.op === "reshape")
      open.push(...n.src.filter((s) => dimEqual(sizeOf(dimsOf(s)), size)));
  }
  return found;
}
