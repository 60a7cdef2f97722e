/** What a layer is told beside its input: whether it trains, and the key of its random numbers. A layer draws from a key
 *  derived from its path, so adding one layer does not change the noise of another, and nothing is remembered between calls. */
import { ArgumentError } from "../errors.ts";
import { fold, type Key } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A plain tree, so it may be an argument of `jit` and `region`. */
export interface Context {
  /** Whether dropout and its like are on. */
  readonly train: boolean;
  /** A new one each step, for instance `random.fold(key, step)`; needed where something is drawn. */
  readonly key?: Key;
  /** Where the call is one part of a batch: the numbers i32 [n] that its examples, one after another, have in the whole. Each then draws
   *  what it would have drawn there. */
  readonly examples?: Tensor;
  /** Where layers that keep statistics leave their new ones, by path; the caller makes them part of the model (`nn.withUpdates`). */
  readonly updates?: Record<string, Tensor>;
  /** Where the caller stands, below the module that was called first; modules fill it in. */
  readonly path?: string;
  /** Set by `contextAt`: the context belongs to one module, which is not to enter its name again. */
  readonly entered?: boolean;
  /** Set where a module without a place in a parent was called inside another: what it draws cannot be told apart. */
  readonly placeless?: boolean;
}

/** Neither training nor random. */
export const evaluation: Context = { train: false };

/** 32 bits of a path: FNV-1a over UTF-16 code units, then the finalizer of MurmurHash3, which spreads the last characters. */
export function pathHash(path: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < path.length; i++) h = Math.imul(h ^ path.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

export const joinPath = (path: string, name: string): string =>
  path === "" || name === "" ? path + name : `${path}.${name}`;

/** The context of a module named `name`, called with `ctx`. */
export function enter(ctx: Context, name: string): Context {
  const { train, key, examples, updates, path, entered = false, placeless = false } = ctx;
  const lost = placeless || (path !== undefined && name === "" && !entered);
  return {
    train,
    ...(key === undefined ? {} : { key }),
    ...(examples === undefined ? {} : { examples }),
    ...(updates === undefined ? {} : { updates }),
    path: entered ? (path ?? "") : joinPath(path ?? "", name),
    ...(lost ? { placeless: true } : {}),
  };
}

/** The context for calling a child inside a `region`: its key is already the child's own, so that equal layers, which share
 *  one trace, still draw different numbers; statistics that are left in it are left in `ctx`, under the child's path.
 *
 *  @param ctx    the context that the calling module was given
 *  @param child  a child of that module, or its path
 *  @returns a context for this one call of this one child
 *  @example for (const layer of self.layers) x = block(layer, x, nn.contextAt(ctx, layer)); */
export function contextAt(ctx: Context, child: string | { readonly [moduleName]: string }): Context {
  const path = joinPath(ctx.path ?? "", typeof child === "string" ? child : child[moduleName]);
  return {
    train: ctx.train,
    ...(ctx.key === undefined ? {} : { key: fold(ctx.key, pathHash(path)) }),
    ...(ctx.examples === undefined ? {} : { examples: ctx.examples }),
    ...(ctx.updates === undefined ? {} : { updates: below(ctx.updates, path) }),
    path: "",
    entered: true,
  };
}

/** An empty record whose new fields are written to another one, below a path. */
const below = (updates: Record<string, Tensor>, path: string): Record<string, Tensor> =>
  new Proxy<Record<string, Tensor>>(
    {},
    {
      set(_, name, value: Tensor) {
        updates[joinPath(path, String(name))] = value;
        return true;
      },
    },
  );

/** A module's name in its parent, `layers.3`; empty for one that has no parent. */
export const moduleName: unique symbol = Symbol.for("sinan.moduleName");

/** The key that the module which was given `ctx` draws from.
 *  @throws ArgumentError if the context has no key, or the module no path of its own */
export function keyOf(ctx: Context, layer: string): Tensor {
  if (!ctx.key)
    throw new ArgumentError(`${layer}: the context trains but has no key`, {
      hint: "pass { train: true, key: random.fold(key, step) }",
    });
  if (ctx.placeless)
    throw new ArgumentError(
      `${layer}: called with its caller's context from outside that caller's tree, so its path is not known`,
      {
        hint: "make it a child of the calling module, or pass nn.contextAt(ctx, layer), as a region needs",
      },
    );
  return fold(ctx.key, pathHash(ctx.path ?? ""));
}
