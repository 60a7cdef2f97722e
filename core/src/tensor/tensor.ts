/** What people hold: a value of some dtype and shape, perhaps not computed yet. Operations are functions (`arithmetic.ts`,
 *  `shape.ts`, …); `methods.ts` makes them methods too. */
import { ArgumentError, DisposedError, ShapeError, TraceError } from "../errors.ts";
import { type Dim, known, sizeOf } from "../ir/dim.ts";
import type { DType } from "../ir/dtype.ts";
import { dimsOf, dtypeOf, type Node, type NodeOf, tensorTypeOf } from "../ir/node.ts";
import { currentScope, type Scope } from "../ir/scope.ts";
import { located } from "../ir/site.ts";
import { type TensorType, tensorType, typeText } from "../ir/type.ts";
import type { Buffer } from "../runtime/buffer.ts";
import { openStream } from "../runtime/devices.ts";
import { changed } from "../runtime/kept.ts";
import { decode, encode, type TypedArray } from "./dtypes.ts";
import { flush } from "./flush.ts";
import { asPending, isPending, isTransforming, leaf } from "./pending.ts";
import { format } from "./print.ts";

/** Numbers nested as deep as a tensor has axes. */
export type Nested = number | bigint | boolean | readonly Nested[];

/** A scope of tracing brings tensors of outside in as hidden inputs. */
export interface CapturingScope extends Scope {
  capture(tensor: Tensor): Node;
  wide(number: NodeOf<"param">): Node;
}

export const captures = (scope: Scope): scope is CapturingScope => "capture" in scope;

/** An array of numbers that does not change: dtype and shape are known at once, the values when they are read. */
export class Tensor {
  #node: Node;
  #disposed = false;
  #isKept = false;

  /** @internal */
  constructor(node: Node) {
    this.#node = node;
    if (isPending(node)) asPending(node).handles++;
  }

  /** The tensor's node in the current scope: inside a trace, a tensor of outside becomes a hidden input of the function.
   *  @internal */
  get node(): Node {
    const node = this.own;
    const scope = currentScope();
    return node.scope !== scope && captures(scope) ? scope.capture(this) : node;
  }

  /** The node itself, whatever the scope.
   *  @internal */
  get own(): Node {
    if (this.#disposed) throw new DisposedError(`${typeText(this.#node.type)}: used after dispose`);
    return this.#node;
  }

  get type(): TensorType {
    return tensorTypeOf(this.#node);
  }

  get dtype(): DType {
    return dtypeOf(this.#node);
  }

  /** Sizes, symbolic ones included. */
  get dims(): readonly Dim[] {
    return dimsOf(this.#node);
  }

  /** Sizes as numbers.
   *  @throws ShapeError if one is symbolic */
  get shape(): readonly number[] {
    return this.dims.map((d) => known(d, "shape"));
  }

  get rank(): number {
    return this.dims.length;
  }

  /** The number of elements. */
  get size(): number {
    return known(sizeOf(this.dims), "size");
  }

  /** The buffer behind the value, computing it if it is pending.
   *  @internal */
  buffer(): Buffer | number {
    return located(() => {
      const node = this.own;
      if (!isPending(node))
        throw new TraceError(`the value of ${typeText(node.type)} is not known while a function is traced`, {
          hint: "return it from the function and read it outside",
        });
      flush([node]);
      return asPending(node).value as Buffer | number;
    });
  }

  /** The buffer behind the value where there is one already; undefined for what is pending, traced or disposed.
   *  @internal */
  get settled(): Buffer | undefined {
    if (this.#disposed || !isPending(this.#node)) return undefined;
    const { value } = asPending(this.#node);
    return value !== null && typeof value !== "number" ? value : undefined;
  }

  /** Makes it tell when it has another value, or is disposed of.
   *  @internal */
  keep(): boolean {
    return (this.#isKept = true);
  }

  /** A copy of the values, row-major: Float32Array for f32, f16 and bf16, Uint8Array of 0 and 1 for bool, and so on.
   *  @throws (as a rejection) what made the computation fail: KernelError, OutOfMemoryError, DeviceLostError */
  async data(): Promise<TypedArray> {
    const value = this.buffer();
    if (typeof value === "number") return decode(this.dtype, encode(this.dtype, [value]));
    return decode(this.dtype, await value.stream.read(value));
  }

  /** The raw bytes in storage order. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const value = this.buffer();
    return typeof value === "number" ? encode(this.dtype, [value]) : value.stream.read(value);
  }

  /** The value of a tensor of one element.
   *  @throws ShapeError (as a rejection) for any other size */
  async item(): Promise<number> {
    located(() => {
      if (this.size !== 1)
        throw new ShapeError(`item: expected one element, got ${typeText(this.type)}`, {
          hint: "reduce it first, or read data()",
        });
    });
    return Number((await this.data())[0]);
  }

  /** The values as nested arrays. */
  async toArray(): Promise<Nested> {
    return nest(await this.data(), this.shape, this.dtype === "bool");
  }

  /** The values as text, as NumPy prints them; long axes are abbreviated. */
  async toText(): Promise<string> {
    return format(await this.data(), this.shape, this.dtype);
  }

  /** A copy on another device. */
  async to(device: string): Promise<Tensor> {
    const bytes = await this.bytes();
    const stream = await openStream(device);
    return new Tensor(leaf(tensorType(this.dtype, this.dims), stream.upload(tensorType(this.dtype, this.dims), bytes)));
  }

  /** Replaces the value. Everything computed from the old one keeps it. In a jitted function the new value is written when
   *  the call runs, over the old memory where that is free.
   *  @throws ShapeError, DTypeError unless shape and dtype are the same */
  assign(value: Tensor): void {
    located(() => this.#assign(value));
  }

  #assign(value: Tensor): void {
    const scope = currentScope();
    if (captures(scope)) {
      (scope as CapturingScope & { update(target: Tensor, value: Node): void }).update(this, value.node);
      return;
    }
    if (isTransforming())
      throw new TraceError("assign: a transform has no place for a new value", {
        hint: "return it beside the loss and assign it afterwards",
      });
    if (value.dtype !== this.dtype || typeText(value.type) !== typeText(this.type))
      throw new ShapeError(`assign: the tensor is ${typeText(this.type)}, the value ${typeText(value.type)}`);
    flush([value.own]);
    this.rebind(value.own);
  }

  /** Another value under this handle, for the executor of a traced `assign`.
   *  @internal */
  rebind(node: Node): void {
    if (this.#isKept) changed();
    asPending(this.#node).handles--;
    asPending(node).handles++;
    this.#node = node;
  }

  /** Frees the memory now rather than when the collector finds it. Twice is harmless; whatever else needs it, pending or not,
   *  keeps it until the collector finds that. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#isKept) changed();
    if (isPending(this.#node)) asPending(this.#node).drop();
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** What it is, without its values: printing never waits. See `toText`. */
  toString(): string {
    return `Tensor ${typeText(this.type)}${this.#disposed ? " (disposed)" : ""}`;
  }

  /** For consoles that ask an object how to print itself. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  /** A tensor is no number, and comparing two of them by `<` is surely a mistake. */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === "number") throw new ArgumentError(`${String(this)} is not a number; read it with await item()`);
    return this.toString();
  }
}

function nest(values: TypedArray, shape: readonly number[], bool: boolean): Nested {
  let offset = 0;
  const build = (axis: number): Nested => {
    if (axis === shape.length) {
      const v = values[offset++] as number | bigint;
      return bool ? v !== 0 : v;
    }
    return Array.from({ length: shape[axis] as number }, () => build(axis + 1));
  };
  return build(0);
}
