/** Makes values of pending nodes. The cone of the roots is copied into a fresh scope in which buffers and JavaScript numbers
 *  are parameters, so that a loop whose numbers change compiles once; its structure is the key of the program cache.
 *
 *  Kept are the roots; every contraction, reduction and indexed access passed; nodes that something outside the cone uses; and nodes that
 *  an earlier flush passed without keeping. All of it is decided by the graph alone, never by what the collector did. So
 *  reading the loss and then the gradients does not run the forward pass twice, and no element-wise node is computed
 *  more than twice. */
import { DeviceError } from "../errors.ts";
import { programFor } from "../compiler/cache.ts";
import { makeFn, topological } from "../ir/fn.ts";
import type { Node, NodeOf } from "../ir/node.ts";
import { remake } from "../ir/scope.ts";
import { isTuple, type TensorType } from "../ir/type.ts";
import { define, newScope } from "../ops/table.ts";
import type { Buffer } from "../runtime/buffer.ts";
import { defaultStream } from "../runtime/devices.ts";
import type { Stream } from "../runtime/stream.ts";
import { asPending, deepest, setOnDeep } from "./pending.ts";

const anchors: ReadonlySet<string> = new Set(["reduce", "contraction", "indexed"]);

export function flush(roots: readonly Node[]): void {
  const wanted = roots.filter((n) => asPending(n).value === null);
  if (wanted.length === 0) return;
  const order = topological(wanted, (n) => asPending(n).value === null);
  const kept = keep(order, new Set(wanted));

  const scope = newScope();
  const params: NodeOf<"param">[] = [];
  const args: (Buffer | number)[] = [];
  const byValue = new Map<Buffer, NodeOf<"param">>();
  const copies = new Map<Node, Node>();
  const parameter = (value: Buffer | number, type: TensorType): Node => {
    const known = typeof value === "number" ? undefined : byValue.get(value);
    if (known) return known;
    const param = scope.make("param", [], { index: params.length, name: "", type });
    params.push(param);
    args.push(value);
    if (typeof value !== "number") byValue.set(value, param);
    return param as Node;
  };
  for (const node of order) {
    const { value } = asPending(node);
    if (value !== null) copies.set(node, parameter(value, node.type as TensorType));
    else if (node.op === "alias" || node.op === "stopGradient") copies.set(node, copies.get(node.src[0] as Node) as Node);
    else {
      const src = node.src.map((s) => copies.get(s) as Node);
      copies.set(node, remake(scope, node, src));
    }
  }

  // Several pending nodes may have become one; an output that is a parameter needs no program.
  const results = [...new Set(kept.map((n) => copies.get(n) as Node))].filter((n) => n.op !== "param");
  const fn = makeFn("flush", params, results);
  const outputs = results.length > 0 ? programFor(fn, streamOf(args)).run(args) : [];
  const made = new Map<Node, Buffer>(results.map((n, i) => [n, outputs[i] as Buffer]));
  for (const node of kept) {
    const copy = copies.get(node) as Node;
    const buffer = made.get(copy) ?? (copy.op === "param" ? args[copy.attr.index] : undefined);
    if (typeof buffer === "object") asPending(node).settle(buffer);
    else if (buffer !== undefined) asPending(node).value = buffer;
  }
}

/** Which nodes of a cone keep their values; marks the others as passed. */
function keep(order: readonly Node[], roots: ReadonlySet<Node>): Node[] {
  const inside = new Map<Node, number>();
  for (const node of order) if (asPending(node).value === null) for (const s of node.src) inside.set(s, (inside.get(s) ?? 0) + 1);
  const kept: Node[] = [];
  for (const node of order) {
    const pending = asPending(node);
    if (pending.value !== null || isTuple(node.type)) continue;
    const used = pending.uses - pending.settled > (inside.get(node) ?? 0);
    const movement = define(node.op).role === "movement";
    if (roots.has(node) || anchors.has(define(node.op).role) || ((used || pending.passed) && !movement)) kept.push(node);
    else pending.passed = true;
  }
  return kept;
}

/** The one device on which all buffers lie; the default one for a graph without any. */
export function streamOf(args: readonly (Buffer | number)[]): Stream {
  let stream: Stream | undefined;
  for (const a of args) {
    if (typeof a === "number") continue;
    if (stream && a.stream !== stream)
      throw new DeviceError(`tensors on ${stream.name} and on ${a.stream.name} meet in one computation`, { hint: "move one with await tensor.to(device)" });
    stream = a.stream;
  }
  return stream ?? defaultStream();
}

// A chain that grows without being read is computed where it has become this deep. Depths are those at a node's making, so they are
// measured again before that is believed.
setOnDeep((node) => {
  const root = node as unknown as Node;
  for (const n of topological([root], (m) => asPending(m).value === null)) asPending(n).measure();
  if (node.depth >= deepest) flush([root]);
});
