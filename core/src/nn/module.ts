/** Modules: functions of `(x, ctx?)` with their parameters as properties. A module is a tree of tensors, so `valueAndGrad`,
 *  `jit`, `tree.map` and files take it as it is; it is never changed: `init` and `rebuild` make another one. */
import { ArgumentError, DTypeError, ShapeError } from "../errors.ts";
import { inModule } from "../ir/site.ts";
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
export function parameter(
  dims: readonly number[],
  initializer: Initializer = zeros,
  { dtype = "f32" }: { readonly dtype?: DType } = {},
): Parameter {
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

/** What every module can do. */
export interface ModuleMethods extends TreeNode {
  /** The module with its parameters drawn, each from a key of its own path.
   *  @example const model = nn.linear(784, 10).init(key(0)); */
  init(key: Key): this;
  readonly [moduleName]: string;
}

/** A layer with its parts as properties. */
export type Module<X, Y, P extends Parts> = Layer<X, Y> & Built<P> & ModuleMethods;

/** What all modules made by one `module` call share, and those that trees make of them. */
interface Kind {
  readonly name: string;
  readonly forward: (self: never, x: never, ctx: Context) => unknown;
  /** What a trace depends on, beside the leaves. */
  readonly key: string;
  readonly prototype: object;
}

/** What one of them has of its own. */
interface Own {
  readonly kind: Kind;
  readonly name: string;
  readonly children: Parts;
  readonly tree: TreeNode[typeof treeNode];
  /** The first child without a value. */
  readonly missing: string | undefined;
}

const reserved = new Set([
  "init",
  "name",
  "length",
  "prototype",
  "arguments",
  "caller",
  "call",
  "apply",
  "bind",
  "toString",
]);
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
    if (reserved.has(k))
      throw new ArgumentError(`module ${name}: a part cannot be named ${k}, which functions have themselves`);
    (isSetting(v) ? settings : children)[k] = v;
  }
  const key = `${name}${identity(forward)}${JSON.stringify(Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1)))}`;
  const prototype = prototypeOf(name, Object.keys(children), settings);
  return make({ name, forward, key, prototype }, children, "") as Module<X, Y, P>;
}

const own: unique symbol = Symbol("own");
type Owner = ModuleMethods & { readonly [own]: Own };

function make(kind: Kind, parts: Parts, name: string): unknown {
  const children: Record<string, unknown> = {};
  let missing: string | undefined;
  for (const k of Object.keys(parts)) {
    const child = placed(parts[k], k);
    children[k] = child;
    if (missing === undefined && hasParameter(child)) missing = k;
  }
  Object.freeze(children);
  // A module by itself has no place; the one that holds it gives it one.
  const rebuild = (changed: Parts): unknown => make(kind, changed, "");
  return assemble({ kind, name, children, missing, tree: { children, rebuild, key: kind.key, known: {} } });
}

function assemble(parts: Own): unknown {
  const { kind, name, missing } = parts;
  const self = (x: never, ctx: Context = evaluation): unknown => {
    if (missing !== undefined) throw uninitialised(kind.name, missing);
    return inModule(name, kind.name, () => kind.forward(self as never, x, enter(ctx, name)));
  };
  self[own] = parts;
  return Object.setPrototypeOf(self, kind.prototype);
}

/** Properties are on a prototype: a step rebuilds its whole state, so making a module again has to be cheap. */
function prototypeOf(name: string, children: readonly string[], settings: Parts): object {
  const getter = (get: (self: Owner) => unknown): PropertyDescriptor => ({
    get(this: Owner) {
      return get(this);
    },
  });
  return Object.create(Function.prototype, {
    [treeNode]: getter((self) => self[own].tree),
    [moduleName]: getter((self) => self[own].name),
    init: { value: initialise },
    ...Object.fromEntries(Object.entries(settings).map(([k, value]) => [k, { value, enumerable: true }])),
    ...Object.fromEntries(
      children.map((k) => [
        k,
        getter((self) => {
          const value = self[own].children[k];
          if (hasParameter(value)) throw uninitialised(name, k);
          return value;
        }),
      ]),
    ),
  }) as object;
}

function initialise(this: Owner, key: Key): unknown {
  return mapLeaves(this, (leaf, path) =>
    leaf instanceof Parameter ? leaf.initializer(fold(key, pathHash(path)), leaf.dims, leaf.dtype) : leaf,
  );
}

const isModule = (x: unknown): x is Owner => typeof x === "function" && own in x;

/** A part with the modules in it named for their place. */
function placed(part: unknown, path: string): unknown {
  if (isModule(part)) return part[own].name === path ? part : assemble({ ...part[own], name: path });
  if (part instanceof Tensor || part instanceof Parameter) return part;
  if (Array.isArray(part)) return Object.freeze(part.map((p, i) => placed(p, `${path}.${i}`)));
  if (part !== null && typeof part === "object" && Object.getPrototypeOf(part) === Object.prototype)
    return Object.freeze(Object.fromEntries(Object.entries(part).map(([k, v]) => [k, placed(v, `${path}.${k}`)])));
  return part;
}

/** Whether a part that is no module of its own has a parameter to be drawn. */
function hasParameter(part: unknown): boolean {
  if (part instanceof Parameter) return true;
  if (part === null || typeof part !== "object" || part instanceof Tensor) return false;
  return Object.values(part).some(hasParameter);
}

const uninitialised = (name: string, part: string): ArgumentError =>
  new ArgumentError(`${name}: its parameter ${part} has no value yet`, {
    hint: "call init(key(seed)) on the whole model first, and use what it returns",
  });
