/** Makes values of pending nodes. The cone of the roots is a program whose parameters are buffers and JavaScript numbers, so a
 *  loop whose numbers change compiles once. A cone that has been seen before is recognised without building anything: its
 *  outline is hashed and compared with the known ones; only a new one is copied into a fresh scope and compiled.
 *
 *  Kept are the roots; every contraction, reduction and indexed access passed; nodes that something outside the cone uses; and
 *  nodes that an earlier flush passed without keeping. All of it is decided by the graph alone, never by what the collector
 *  did. So reading the loss and then the gradients does not run the forward pass twice, and no element-wise node is computed
 *  more than twice. */
import { DeviceError } from "../errors.ts";
import { programFor } from "../compiler/cache.ts";
import { attrEqual, makeFn, sameItems } from "../ir/fn.ts";
import { attrHash, mixHash } from "../ir/attr.ts";
import type { Node, Op } from "../ir/node.ts";
import { remake } from "../ir/scope.ts";
import { isTuple, type TensorType, typeEqual } from "../ir/type.ts";
import { define, newScope } from "../ops/table.ts";
import type { Buffer } from "../runtime/buffer.ts";
import { defaultStream } from "../runtime/devices.ts";
import type { Sure } from "../runtime/kept.ts";
import type { Program } from "../runtime/program.ts";
import type { Stream } from "../runtime/stream.ts";
import { asPending, cone, deepest, type Pending, setOnDeep } from "./pending.ts";

export function flush(roots: readonly Node[]): void {
  const wanted = roots.filter((n) => asPending(n).value === null);
  if (wanted.length === 0) return;
  const order = cone(wanted as unknown as Pending[]);
  const { outline, args } = outlineOf(order, new Set(wanted as unknown as Pending[]));
  const stream = streamOf(args);
  const { program, outputs } = known(stream, outline) ?? learn(stream, outline, order);
  const made = program ? program.run(args) : [];
  outline.kept.forEach((position, i) => {
    const pending = order[position] as Pending;
    const at = outputs[i] as number;
    const value = at >= 0 ? (made[at] as Buffer) : (args[-1 - at] as Buffer | number);
    if (typeof value === "number") pending.value = value;
    else pending.settle(value);
  });
}

/** A cone up to renaming: nodes in order, their sources by position, leaves by the number of their value. */
interface Outline {
  readonly hash: number;
  readonly ops: readonly Op[];
  readonly attrs: readonly object[];
  /** Positions of sources; for a leaf the number of its argument. Those of node i end at `ends[i]`. */
  readonly links: readonly number[];
  readonly ends: readonly number[];
  /** Types of arguments. */
  readonly types: readonly TensorType[];
  /** Positions of the nodes that keep their values, and those of the roots among them. */
  readonly kept: readonly number[];
  readonly roots: readonly number[];
}

interface Flushed {
  readonly outline: Outline;
  /** Absent where every kept value is an argument. */
  readonly program: Program | undefined;
  /** For each kept node the program's output, or −1 − the number of the argument that it is. */
  readonly outputs: readonly number[];
}

function outlineOf(
  order: readonly Pending[],
  roots: ReadonlySet<Pending>,
): { outline: Outline; args: (Buffer | number)[] } {
  const ops: Op[] = [];
  const attrs: object[] = [];
  const links: number[] = [];
  const ends: number[] = [];
  const types: TensorType[] = [];
  const args: (Buffer | number)[] = [];
  const byBuffer = new Map<Buffer, number>();
  let hash = order.length;
  for (const pending of order) {
    const { value } = pending;
    ops.push(pending.op);
    if (value === null) {
      // The names that transforms give to values are new each time and mean nothing here.
      const attr = pending.op === "alias" ? none : pending.attr;
      attrs.push(attr);
      hash = mixHash(hash, attrHash(pending.op, attr));
      for (const s of pending.src) {
        const source = asPending(s);
        source.inside++;
        links.push(source.position);
        hash = mixHash(hash, source.position);
      }
    } else {
      let number = typeof value === "number" ? undefined : byBuffer.get(value);
      if (number === undefined) {
        number = args.length;
        args.push(value);
        types.push(pending.type as TensorType);
        if (typeof value !== "number") byBuffer.set(value, number);
      }
      attrs.push(none);
      links.push(number);
      hash = mixHash(hash, -number);
    }
    ends.push(links.length);
  }
  const kept = keep(order, roots);
  const asked = kept.filter((position) => roots.has(order[position] as Pending));
  for (const position of kept) hash = mixHash(hash, position);
  for (const { dims } of types) for (const d of dims) hash = mixHash(hash, typeof d === "number" ? d : 0);
  return { outline: { hash, ops, attrs, links, ends, types, kept, roots: asked }, args };
}

const none = Object.freeze({});
const anchors: ReadonlySet<string> = new Set(["reduce", "contraction", "indexed"]);

/** Which nodes of a cone keep their values; marks the others as passed. */
function keep(order: readonly Pending[], roots: ReadonlySet<Pending>): number[] {
  const kept: number[] = [];
  order.forEach((pending, position) => {
    if (pending.value !== null || isTuple(pending.type)) return;
    const { role } = define(pending.op);
    const again = pending.passed || pending.uses - pending.settled > pending.inside;
    if (roots.has(pending) || anchors.has(role) || (again && role !== "movement" && role !== "storage"))
      kept.push(position);
    else pending.passed = true;
  });
  return kept;
}

const seen = new WeakMap<Stream, Map<number, Flushed[]>>();

function known(stream: Stream, outline: Outline): Flushed | undefined {
  return seen
    .get(stream)
    ?.get(outline.hash)
    ?.find((f) => sameOutline(f.outline, outline));
}

const sameOutline = (a: Outline, b: Outline): boolean =>
  sameItems(a.ops, b.ops) &&
  sameItems(a.links, b.links) &&
  sameItems(a.ends, b.ends) &&
  sameItems(a.kept, b.kept) &&
  sameItems(a.roots, b.roots) &&
  a.types.length === b.types.length &&
  a.types.every((t, i) => typeEqual(t, b.types[i] as TensorType)) &&
  a.attrs.every((x, i) => attrEqual(x, b.attrs[i]));

/** Copies a new cone into a fresh scope and compiles it. */
function learn(stream: Stream, outline: Outline, order: readonly Pending[]): Flushed {
  const scope = newScope();
  const params = outline.types.map((type, index) => scope.make("param", [], { index, name: "", type }));
  const copies: Node[] = [];
  order.forEach((pending, position) => {
    const from = position === 0 ? 0 : (outline.ends[position - 1] as number);
    const links = outline.links.slice(from, outline.ends[position]);
    const node = pending as unknown as Node;
    if (pending.value !== null) copies.push(params[links[0] as number] as Node);
    else if (node.op === "alias" || node.op === "stopGradient") copies.push(copies[links[0] as number] as Node);
    else
      copies.push(
        remake(
          scope,
          node,
          links.map((l) => copies[l] as Node),
        ),
      );
  });
  // Several pending nodes may have become one, and then share a buffer; but two that were asked for, such as two tensors of
  // zeros, get one each: somebody may donate them. A result that is a parameter needs no program.
  const results: Node[] = [];
  const place = new Map<Node, number>();
  const taken = new Set<number>();
  const roots = new Set(outline.roots);
  const outputs = outline.kept.map((position) => {
    const node = copies[position] as Node;
    if (node.op === "param") return -1 - node.attr.index;
    let at = place.get(node);
    if (at === undefined || (roots.has(position) && taken.has(at))) {
      at = results.push(node) - 1;
      place.set(node, at);
    }
    if (roots.has(position)) taken.add(at);
    return at;
  });
  const program = results.length > 0 ? programFor(makeFn("flush", params, results), stream) : undefined;
  const flushed: Flushed = { outline, program, outputs };
  const own = seen.get(stream) ?? new Map<number, Flushed[]>();
  seen.set(stream, own);
  own.set(outline.hash, [...(own.get(outline.hash) ?? []), flushed]);
  return flushed;
}

/** The one device on which all buffers lie; the default one for a graph without any. */
export function streamOf(args: readonly (Buffer | number)[], sure?: Sure): Stream {
  let stream: Stream | undefined;
  for (let i = 0; i < args.length; i++) {
    // Those that are sure are all where the first of them is.
    if (sure && i === sure.from + 1) i += sure.values.length - 1;
    const a = args[i];
    if (typeof a !== "object") continue;
    if (stream && a.stream !== stream)
      throw new DeviceError(`tensors on ${stream.name} and on ${a.stream.name} meet in one computation`, {
        hint: "move one with await tensor.to(device)",
      });
    stream = a.stream;
  }
  return stream ?? defaultStream();
}

// A chain that grows without being read is computed where it has become this deep. Depths are those at a node's making, so they are
// measured again before that is believed.
setOnDeep((node) => {
  for (const n of cone([node])) n.measure();
  if (node.depth >= deepest) flush([node as unknown as Node]);
});
