/** Tracing: a function run on parameters instead of values gives a `Fn`. Tensors of outside that it uses become hidden
 *  inputs, read when the function is called; tensors of outside that it assigns become hidden outputs. */
import { ShapeError } from "../errors.ts";
import { type Fn, makeFn } from "../ir/fn.ts";
import type { Node, NodeOf } from "../ir/node.ts";
import { InternScope, within } from "../ir/scope.ts";
import { atOneLine, traceSite } from "../ir/site.ts";
import { type TensorType, tensorType, typeText } from "../ir/type.ts";
import { assign } from "../ops/build.ts";
import { infer } from "../ops/table.ts";
import { childrenOf, isPlain, mapLeaves, type TreeNode, treeNode } from "./tree.ts";
import { type CapturingScope, Tensor } from "./tensor.ts";

export class TraceScope extends InternScope implements CapturingScope {
  readonly params: NodeOf<"param">[] = [];
  readonly captured: (Tensor | number)[] = [];
  readonly assigned: Tensor[] = [];
  /** What a captured tensor is in this scope: its parameter, or the value assigned to it. */
  readonly #current = new Map<Tensor, Node>();
  readonly #wide = new Map<NodeOf<"param">, Node>();
  readonly #targets = new Map<Tensor, NodeOf<"param">>();

  constructor() {
    super(infer, traceSite);
  }

  parameter(type: TensorType, name: string): NodeOf<"param"> {
    const param = this.make("param", [], { index: this.params.length, name, type });
    this.params.push(param);
    return param;
  }

  capture(tensor: Tensor): Node {
    const known = this.#current.get(tensor);
    if (known) return known;
    const param = this.parameter(tensorType(tensor.dtype, tensor.dims), "");
    this.captured.push(tensor);
    this.#current.set(tensor, param);
    this.#targets.set(tensor, param);
    return param;
  }

  /** A traced number in f64, which its own f32 parameter would round: the number of that parameter is given once more. */
  wide(number: NodeOf<"param">): Node {
    const known = this.#wide.get(number);
    if (known) return known;
    const param = this.parameter(tensorType("f64", [], "host"), "") as Node;
    this.captured.push(number.attr.index);
    this.#wide.set(number, param);
    return param;
  }

  /** A traced `assign`: later uses see the value, and the call writes it back. */
  update(target: Tensor, value: Node): void {
    this.capture(target);
    const param = this.#targets.get(target) as Node;
    if (typeText(param.type) !== typeText(value.type))
      throw new ShapeError(`assign: the tensor is ${typeText(param.type)}, the value ${typeText(value.type)}`);
    this.#current.set(target, assign(param, value));
    if (!this.assigned.includes(target)) this.assigned.push(target);
  }

  assignedNodes(): Node[] {
    return this.assigned.map((t) => this.#current.get(t) as Node);
  }
}

/** What tracing found: `results` of the function first, then the values of assigned tensors. */
export interface Traced {
  readonly fn: Fn;
  /** Tensors whose values are the parameters after the explicit ones, or numbers of explicit ones given once more. */
  readonly captured: readonly (Tensor | number)[];
  readonly assigned: readonly Tensor[];
  /** The function's result with the tensors in it numbered, to be rebuilt around a call's outputs. */
  readonly output: unknown;
}

/** A place for a call's output in a result tree. */
export class Output {
  readonly index: number;
  constructor(index: number) {
    this.index = index;
  }
}

const listeners = new Set<(name: string) => void>();

/** Tells the name of every function that is traced; returns how to stop. */
export function onTrace(listener: (name: string) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Traces `body` over parameters of the given types. */
export function trace(name: string, types: readonly TensorType[], body: (params: Tensor[]) => unknown): Traced {
  for (const tell of listeners) tell(name);
  const scope = new TraceScope();
  return within(scope, () => {
    const params = atOneLine(() => types.map((t) => new Tensor(scope.parameter(t, "") as Node)));
    const results: Node[] = [];
    const output = mapLeaves(body(params), (value) => {
      if (!(value instanceof Tensor)) return value;
      results.push(value.node);
      return new Output(results.length - 1);
    });
    const fn = makeFn(name, scope.params, [...results, ...scope.assignedNodes()]);
    return { fn, captured: scope.captured, assigned: scope.assigned, output };
  });
}

/** The result tree around these outputs. */
export const rebuild = (output: unknown, outputs: readonly Tensor[]): unknown => builderOf(output)(outputs);

/** What puts a call's outputs into the places of a result tree, found out once for all calls. */
export function builderOf(output: unknown): (outputs: readonly Tensor[]) => unknown {
  if (output instanceof Output) return (outputs) => outputs[output.index];
  const parts = childrenOf(output);
  if (!parts) return () => output;
  if (Array.isArray(output)) {
    const items = output.map(builderOf);
    return (outputs) => items.map((item) => item(outputs));
  }
  const inner = new Map(parts.map(([key, part]) => [key, builderOf(part)]));
  // A record is written in the order of its own keys.
  const keys = isPlain(output) ? Object.keys(output) : [...inner.keys()];
  const builders = keys.map((key) => inner.get(key) as (outputs: readonly Tensor[]) => unknown);
  // Engines copy an object faster than they add properties to one.
  const empty: Readonly<Record<string, unknown>> = Object.fromEntries(keys.map((key) => [key, undefined]));
  const record = (outputs: readonly Tensor[]): Record<string, unknown> => {
    const made = { ...empty };
    for (let i = 0; i < keys.length; i++)
      made[keys[i] as string] = (builders[i] as (outputs: readonly Tensor[]) => unknown)(outputs);
    return made;
  };
  return isPlain(output) ? record : (outputs) => (output as TreeNode)[treeNode].rebuild(record(outputs));
}
