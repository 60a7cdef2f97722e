/** Functions that are called as a unit: traced once for each structure of their arguments, whoever calls them. A `region` is
 *  for sharing the work of compiling, `remat` for memory, `customVjp` for a derivative of one's own. */
import { customPushes, customRules, extended, rematerialised } from "../autodiff/marks.ts";
import { ShapeError, TraceError } from "../errors.ts";
import { instantiate } from "../ir/copy.ts";
import type { Fn } from "../ir/fn.ts";
import type { Node, Op } from "../ir/node.ts";
import { currentScope, type Scope } from "../ir/scope.ts";
import { atOneLine, isObserved } from "../ir/site.ts";
import { isTuple, tensorType, typeText } from "../ir/type.ts";
import { call, item, zerosLike } from "../ops/build.ts";
import { define } from "../ops/table.ts";
import { numberNode } from "./operand.ts";
import { isPending, lazyScope } from "./pending.ts";
import { type Entry, nameOf, type Signature, signatureOf, traceCall } from "./signature.ts";
import { Tensor } from "./tensor.ts";
import { Output, rebuild, trace, type Traced } from "./trace.ts";
import { isPlain, mapLeaves, tensors } from "./tree.ts";

/** What every function that is called as a unit may be given. */
export interface RegionOptions {
  /** For printed IR and profiles. */
  readonly name?: string;
}

/** f traced once for each structure of arguments, whoever calls it, and called as a unit: a model wraps its repeated block, so
 *  that equal layers are traced, differentiated and compiled once. Outside a trace its operations are simply made. A number given
 *  to it is an f32 scalar. What f leaves in `updates` of an argument, as layers do in that of their context, is left there by each call.
 *  @throws TraceError if f assigns to a tensor
 *  @example const block = region((layer, x) => …); for (const layer of layers) x = block(layer, x); */
export const region = <A extends readonly unknown[], Y>(
  f: (...args: A) => Y,
  options: RegionOptions = {},
): ((...args: A) => Y) => leaving(f, options, callOrMake);

/** A call in a trace; outside of one, the operations of the body. */
export const callOrMake = (fn: Fn, inputs: readonly Node[]): Node[] =>
  currentScope() === lazyScope ? instantiate(fn, inputs) : called(fn, inputs);

/** Whether a value inside a `remat` is kept for the backward pass: by what makes it, and the name that it was given. */
export type RematPolicy = (value: { readonly op: string; readonly name: string | undefined }) => boolean;

/** What is kept for the derivative rather than computed again. */
export interface RematOptions extends RegionOptions {
  /** What is kept all the same; nothing by default. See `policies`. */
  readonly save?: RematPolicy;
}

/** f whose derivative computes f's inner values again instead of keeping them: less memory, one more forward pass.
 *  @see Chen et al. 2016, arXiv:1604.06174
 *  @example const cheap = remat((w: Tensor, x: Tensor) => x.matmul(w).tanh()); */
export const remat = <A extends readonly unknown[], Y>(
  f: (...args: A) => Y,
  options: RematOptions = {},
): ((...args: A) => Y) =>
  leaving(f, options, (fn, inputs) => {
    const { save } = options;
    rematerialised.set(fn, (n) => save !== undefined && isValue(n) && save({ op: n.op, name: nameGiven(n) }));
    return called(fn, inputs);
  });

/** Gradients of f's arguments from the cotangents of its result: a list like the arguments, with null (or nothing) where none flows.
 *  It is given f's result, or what `forward` kept. */
export type VjpRule<A extends readonly unknown[], Y, K = Y> = (
  cotangents: Y,
  kept: K,
  ...args: A
) => { readonly [I in keyof A]?: A[I] | null };

/** How f's result moves when its arguments do: from tangents like the arguments (zeros where one does not move) to one like the result. */
export type JvpRule<A extends readonly unknown[], Y> = (tangents: A, result: Y, ...args: A) => Y;

/** What f's derivative may have beside the reverse rule. */
export interface CustomOptions<A extends readonly unknown[], Y, K = Y> extends RegionOptions {
  /** The forward derivative. Without one it is made of the reverse rule. */
  readonly jvp?: JvpRule<A, Y>;
  /** Stands for f where a gradient is asked for: f's result, and a tree of tensors that is kept for the rule. Without it the result is. */
  readonly forward?: (...args: A) => readonly [result: Y, kept: K];
}

/** f with a derivative rule of one's own. The rule is traced too, so it may itself be differentiated; it may use its arguments
 *  only, no tensors of outside.
 *  @throws TraceError if the rule uses a tensor of outside; ShapeError if a gradient is not of its argument's shape
 *  @example
 *  // The identity, with gradients clipped on the way back.
 *  const clipped = customVjp((x: Tensor) => x.mul(1), (g) => [g.clip(-1, 1)]);
 *  @example
 *  // What is dear to compute is kept.
 *  const rule = (g: Tensor, slope: Tensor) => [g.mul(slope)];
 *  const expm1 = customVjp((x: Tensor) => x.exp().sub(1), rule, {
 *    forward: (x) => [x.exp().sub(1), x.exp()],
 *  }); */
export const customVjp = <A extends readonly unknown[], Y, K = Y>(
  f: (...args: A) => Y,
  rule: VjpRule<A, Y, K>,
  options: CustomOptions<A, Y, K> = {},
): ((...args: A) => Y) =>
  unit(f, options, (fn, inputs, traced, args, signature) => {
    if (!customRules.has(fn)) {
      const forward = options.forward && traceForward(fn, options.forward, args, signature);
      if (forward) extended.set(forward.fn, fn);
      customRules.set(fn, {
        rule: traceRule(fn, rule, traced.output, forward, args, signature),
        forward: forward?.fn,
      });
      if (options.jvp) customPushes.set(fn, tracePush(fn, options.jvp, traced, args, signature));
    }
    return called(fn, inputs);
  });

/** What computes something that could be kept. */
const isValue = (n: Node): boolean => !isTuple(n.type) && define<Op>(n.op).role !== "leaf";
const nameGiven = (n: Node): string | undefined => (n.op === "named" ? n.attr.name : undefined);

const called = (fn: Fn, inputs: readonly Node[]): Node[] =>
  atOneLine(() => {
    const made = call(fn, inputs);
    return fn.results.map((_, i) => item(made, i));
  });

type Use<A extends readonly unknown[]> = (
  fn: Fn,
  inputs: readonly Node[],
  traced: Traced,
  args: A,
  signature: Signature,
) => readonly Node[];

/** `unit` for functions that may leave tensors beside their result: the body runs once, what it left is a result of every call. */
function leaving<A extends readonly unknown[], Y>(f: (...args: A) => Y, { name }: RegionOptions, use: Use<A>) {
  const options = { name: nameOf(f, name) };
  const plain = unit(f, options, use);
  const both = unit((...args: A) => [f(...args), updatesOf(args)] as const, options, use);
  return (...args: A): Y => {
    const places = updatesOf(args);
    if (places.length === 0) return plain(...args);
    const [y, left] = both(...args);
    places.forEach((place, i) => Object.assign(place, left[i]));
    return y;
  };
}

/** Where a function may leave tensors. */
const updatesOf = (args: readonly unknown[]): Record<string, unknown>[] =>
  args.flatMap((a) => (isPlain(a) && isPlain(a["updates"]) ? [a["updates"]] : []));

/** f traced once for each structure of arguments, its trace handed to `use` at each call. */
export function unit<A extends readonly unknown[], Y>(
  f: (...args: A) => Y,
  { name }: RegionOptions,
  use: Use<A>,
): (...args: A) => Y {
  const known = new Map<string, Traced>();
  // A body that captures tensors of a trace means something in that trace alone.
  const local = new WeakMap<Scope, Map<string, Traced>>();
  const label = nameOf(f, name);
  return (...args: A): Y => {
    const scope = currentScope();
    if (isObserved() && scope === lazyScope) return f(...args);
    const signature = signatureOf(args, () => false);
    const own = local.get(scope) ?? new Map<string, Traced>();
    let traced = known.get(signature.key) ?? own.get(signature.key);
    if (!traced) {
      traced = traceCall(label, f, args, signature, "device");
      if (traced.assigned.length > 0)
        throw new TraceError(`region ${label}: assign is not possible inside a region`, {
          hint: "return the value and assign it outside",
        });
      if (tensorsOf(traced).every((t) => isPending(t.own))) known.set(signature.key, traced);
      else local.set(scope, own.set(signature.key, traced));
    }
    const outputs = use(traced.fn, inputsOf(traced, signature), traced, args, signature);
    return rebuild(
      traced.output,
      outputs.map((n) => new Tensor(n)),
    ) as Y;
  };
}

/** Numbers are device scalars here, so nothing but tensors is captured. */
const tensorsOf = ({ captured }: Traced): Tensor[] => captured.filter((t) => t instanceof Tensor);

function inputsOf(traced: Traced, { leaves, entries }: Signature): Node[] {
  const nodes = leaves.flatMap(({ value }, i) => {
    const { kind } = entries[i] as Entry;
    return kind === "fixed" ? [] : [kind === "number" ? numberNode(value as number, "f32") : (value as Tensor).node];
  });
  return [...nodes, ...tensorsOf(traced).map((t) => t.node)];
}

/** The arguments' tree around the values of those leaves that vary. */
function argumentsTree<A>(args: A, { leaves, entries }: Signature, values: readonly Tensor[]): A {
  let leaf = 0;
  let next = 0;
  return mapLeaves(args, () => {
    const i = leaf++;
    return (entries[i] as Entry).kind === "fixed" ? leaves[i]?.value : values[next++];
  }) as A;
}

const plainTypes = (nodes: readonly Node[]) =>
  nodes.map((n) => {
    const { dtype, dims } = new Tensor(n).type;
    return tensorType(dtype, dims);
  });

function refuseOutside(fn: Fn, made: Traced): Fn {
  if (made.captured.length > 0 || made.assigned.length > 0)
    throw new TraceError(
      `customVjp ${fn.name}: the rule uses a tensor of outside (${tensorsOf(made).map(String).join(", ")})`,
      { hint: "pass it as an argument of the function" },
    );
  return made.fn;
}

interface Forward {
  /** The body's parameters → its results, what is kept. */
  readonly fn: Fn;
  readonly kept: readonly Node[];
  /** The tree of what is kept, its tensors numbered. */
  readonly output: unknown;
}

function traceForward<A extends readonly unknown[], Y, K>(
  fn: Fn,
  forward: (...args: A) => readonly [Y, K],
  args: A,
  signature: Signature,
): Forward {
  let output: unknown;
  const made = trace(`${fn.name}.forward`, plainTypes(fn.params), (values) => {
    const [y, kept] = forward(...argumentsTree(args, signature, values));
    const [results, residuals] = [tensors(y), tensors(kept)];
    const [want, got] = [typesText(fn.results), typesText(results.map(({ tensor }) => tensor.node))];
    if (want !== got) throw new ShapeError(`customVjp ${fn.name}: forward should give the result ${want}, got ${got}`);
    let index = 0;
    output = mapLeaves(kept, (leaf) => (leaf instanceof Tensor ? new Output(index++) : leaf));
    return [...results, ...residuals].map(({ tensor }) => tensor);
  });
  const whole = refuseOutside(fn, made);
  return { fn: whole, kept: whole.results.slice(fn.results.length), output };
}

const typesText = (nodes: readonly Node[]): string => nodes.map((n) => typeText(n.type)).join(", ");

/** The rule as a function of the body's parameters, what was kept and cotangents; it gives a gradient for every parameter. */
function traceRule<A extends readonly unknown[], Y, K>(
  fn: Fn,
  rule: VjpRule<A, Y, K>,
  output: unknown,
  forward: Forward | undefined,
  args: A,
  signature: Signature,
): Fn {
  const residuals = forward?.kept ?? fn.results;
  const [p, r] = [fn.params.length, residuals.length];
  const made = trace(`${fn.name}.rule`, plainTypes([...fn.params, ...residuals, ...fn.results]), (values) => {
    const inner = argumentsTree(args, signature, values);
    const kept = rebuild(forward ? forward.output : output, values.slice(p, p + r)) as K;
    const given = rule(rebuild(output, values.slice(p + r)) as Y, kept, ...inner);
    const byPath = new Map(tensors(args.map((_, i) => given[i] ?? null)).map(({ path, tensor }) => [path, tensor]));
    const { leaves, entries } = signature;
    const varying = leaves.filter((_, i) => (entries[i] as Entry).kind !== "fixed");
    return values.slice(0, p).map((value, i) => {
      const path = varying[i]?.path;
      const gradient = path === undefined ? undefined : byPath.get(path);
      if (gradient && typeText(gradient.type) !== typeText(value.type))
        throw new ShapeError(
          `customVjp ${fn.name}: the gradient of argument ${path} should be ${typeText(value.type)}, got ${typeText(gradient.type)}`,
        );
      return gradient ?? new Tensor(zerosLike(value.node));
    });
  });
  return refuseOutside(fn, made);
}

/** The forward rule as a function of the body's parameters, results and the parameters' tangents. */
function tracePush<A extends readonly unknown[], Y>(
  fn: Fn,
  push: JvpRule<A, Y>,
  { output }: Traced,
  args: A,
  signature: Signature,
): Fn {
  const [p, r] = [fn.params.length, fn.results.length];
  const made = trace(`${fn.name}.jvp`, plainTypes([...fn.params, ...fn.results, ...fn.params]), (values) => {
    const inner = argumentsTree(args, signature, values);
    const result = rebuild(output, values.slice(p, p + r)) as Y;
    const moved = tensors(push(argumentsTree(args, signature, values.slice(p + r)), result, ...inner));
    fn.results.forEach((y, j) => {
      const [want, got] = [typeText(y.type), moved[j] ? typeText(moved[j].tensor.type) : "nothing"];
      if (want !== got)
        throw new ShapeError(`customVjp ${fn.name}: the tangent of result ${j} should be ${want}, got ${got}`);
    });
    return moved.map(({ tensor }) => tensor);
  });
  return refuseOutside(fn, made);
}
