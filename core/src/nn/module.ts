/** Modules: functions of `(x, ctx?)` with their parameters as properties. A module is a tree of tensors, so `valueAndGrad`,
 *  `jit`, `tree.map` and files take it as it is; it is never changed: `init` and `rebuild` make another one. */
import { ArgumentError, DTypeError, ShapeError } from "../errors.ts";
import { type DType, isFloat, isFull } from "../ir/dtype.ts";
import { fold, type Key } from "../tensor/random.ts";
import { Tensor } from "../tensor/tensor.ts";
import { identity, mapLeaves, type TreeNode, treeNode } from "../tensor/tree.ts";
import { type Context, enter, evaluation, moduleName, pathHash } from "./context.ts";
import { type Initializer, zeros } from "./initializers.ts";

/** A parameter that has no value yet: `init` draws it. */
export class Parameter {
  readonly dims: readonly number[];
  readonly dtype: DType;
  readonly initializer: Initializer;

  constructor(dims: readonly number[], dtype: DType, initializer: Initializer) {
    this.dims = dims;
    this.dtype = dtype;
    this.initializer = initializer;
  }
}

/** Specifies a parameter of a module.
 *
 *  @param initializer  zeros by default
 *  @param dtype        f32 or f64
 *  @throws ShapeError, DTypeError
 *  @example nn.module("scale", { weight: nn.parameter([dim], nn.initializers.ones) }, ({ weight }, x: Tensor) => x.mul(weight)) */
export function parameter(dims: readonly number[], initializer: Initializer = zeros, { dtype = "f32" }: { readonly dtype?: DType } = {}): Parameter {
  if (dims.some((d) => !Number.isSafeInteger(d) || d < 0))
    throw new ShapeError(`parameter: a shape is made of whole numbers of at least 0, got [${dims.join(", ")}]`);
  if (!isFloat(dtype) || !isFull(dtype)) throw new DTypeError(`parameter: expected f32 or f64, got ${dtype}`);
  return new Parameter(dims, dtype, initializer);
}

/** What a module is made of: parameters, tensors, modules, functions, and lists and records of these, are its tree; numbers,
 *  strings, booleans and null at the top level are settings, part of the program. */
export type Parts = Readonly<Record<string, unknown>>;

/** The parts as the initialised module has them: a tensor in each parameter's place. */
export type Built<P> = P extends Parameter
  ? Tensor
  : P extends Tensor | ((...args: never[]) => unknown) | string | number | boolean | null | undefined
    ? P
    : { readonly [K in keyof P]: Built<P[K]> };

/** A function from X to Y, as every layer is one: a module, or a plain function such as `relu`. */
export type Layer<X = Tensor, Y = Tensor> = (x: X, ctx?: Context) => Y;

export interface ModuleMethods extends TreeNode {
  /** The module with its parameters drawn, each from a key of its own path.
   *  @example const model = nn.linear(784, 10).init(key(0)); */
  init(key: Key): this;
  readonly [moduleName]: string;
}

export type Module<X, Y, P extends Parts> = Layer<X, Y> & Built<P> & ModuleMethods;

/** What all modules made by one `module` call with equal settings share. */
interface Kind {
  readonly name: string;
  readonly forward: (self: never, x: never, ctx: Context) => unknown;
  readonly settings: Parts;
  readonly key: string;
}

const reserved = new Set(["init", "name", "length", "prototype", "arguments", "caller", "call", "apply", "bind", "toString"]);
const isSetting = (x: unknown): boolean => x === null || ["number", "string", "boolean"].includes(typeof x);

/** Defines a module.
 *
 *  Two modules with the same `forward` function and equal settings and shapes are traced once; so write `forward` at the top
 *  level of a file and pass what it depends on among the parts, rather than closing over it.
 *
 *  @param name     for messages
 *  @param parts    parameters, children and settings; they are properties of the module under the same names
 *  @param forward  gets the module with its parameters initialised, the input (a record where there are several), and the context
 *  @throws ArgumentError for a part with the name of a property that functions have
 *  @example
 *  const mlp = (dim: number) =>
 *    nn.module("mlp", { up: nn.linear(dim, 4 * dim), down: nn.linear(4 * dim, dim) },
 *      (self, x: Tensor, ctx) => self.down(nn.gelu(self.up(x, ctx)), ctx)); */
export function module<const P extends Parts, X, Y>(
  name: string,
  parts: P,
  forward: (self: Built<P> & ModuleMethods, x: X, ctx: Context) => Y,
): Module<X, Y, P> {
  const children: Record<string, unknown> = {};
  const settings: Record<string, unknown> = {};
  for (const [k, v] of Object.entries(parts)) {
    if (reserved.has(k)) throw new ArgumentError(`module ${name}: a part cannot be named ${k}, which functions have themselves`);
    (isSetting(v) ? settings : children)[k] = v;
  }
  const key = `${name}${identity(forward)}${JSON.stringify(Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1)))}`;
  return make({ name, forward, settings, key }, children, "") as Module<X, Y, P>;
}

function make(kind: Kind, given: Parts, name: string): unknown {
  const children = Object.fromEntries(Object.entries(given).map(([k, v]) => [k, placed(v, k)]));
  const missing = Object.entries(children).find(([, v]) => hasParameter(v))?.[0];
  const call = (x: never, ctx: Context = evaluation): unknown => {
    if (missing !== undefined) throw uninitialised(kind, missing);
    return kind.forward(self as never, x, enter(ctx, name));
  };
  const node: TreeNode[typeof treeNode] = { children, rebuild: (parts) => make(kind, parts, name), key: kind.key };
  const self = Object.defineProperties(call, {
    name: { value: kind.name },
    [treeNode]: { value: node },
    [moduleName]: { value: name },
    init: { value: (key: Key) => initialise(self, key) },
    [rename]: { value: (other: string) => make(kind, children, other) },
  });
  for (const [k, value] of Object.entries(kind.settings)) Object.defineProperty(self, k, { value, enumerable: true });
  for (const [k, value] of Object.entries(children))
    Object.defineProperty(
      self,
      k,
      value instanceof Parameter
        ? {
            get: () => {
              throw uninitialised(kind, k);
            },
          }
        : { value, enumerable: true },
    );
  return self;
}

const rename: unique symbol = Symbol("rename");

type AnyModule = ModuleMethods & { [rename](name: string): unknown };
export const isModule = (x: unknown): x is ModuleMethods => typeof x === "function" && rename in x;

/** A part with the modules in it named for their place. */
function placed(part: unknown, path: string): unknown {
  if (isModule(part)) return part[moduleName] === path ? part : (part as AnyModule)[rename](path);
  if (part instanceof Tensor || part instanceof Parameter) return part;
  if (Array.isArray(part)) return part.map((p, i) => placed(p, `${path}.${i}`));
  if (part !== null && typeof part === "object" && Object.getPrototypeOf(part) === Object.prototype)
    return Object.fromEntries(Object.entries(part).map(([k, v]) => [k, placed(v, `${path}.${k}`)]));
  return part;
}

/** Whether a part that is no module of its own has a parameter to be drawn. */
function hasParameter(part: unknown): boolean {
  if (part instanceof Parameter) return true;
  if (part === null || typeof part !== "object" || part instanceof Tensor) return false;
  return Object.values(part).some(hasParameter);
}

const uninitialised = ({ name }: Kind, part: string): ArgumentError =>
  new ArgumentError(`${name}: its parameter ${part} has no value yet`, { hint: "call init(key(seed)) on the whole model first, and use what it returns" });

const initialise = (self: unknown, key: Key): unknown =>
  mapLeaves(self, (leaf, path) => (leaf instanceof Parameter ? leaf.initializer(fold(key, pathHash(path)), leaf.dims, leaf.dtype) : leaf));
