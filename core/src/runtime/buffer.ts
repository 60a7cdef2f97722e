/** The storage of one tensor on one device. Counted inside, never in the API: a buffer that no tensor holds is freed by the
 *  collector's finalizer, or at once by `release`. */
import { DisposedError } from "../errors.ts";
import { byteSize } from "../ir/dtype.ts";
import { known, sizeOf } from "../ir/dim.ts";
import type { Site } from "../ir/site.ts";
import { type TensorType, typeText } from "../ir/type.ts";
import type { Memory, Region } from "./driver.ts";
import type { Failure } from "./failure.ts";
import { changed } from "./kept.ts";
import type { Pool } from "./pool.ts";
import type { Stream } from "./stream.ts";

/** What the finalizer needs, apart from the block itself. */
interface Holding {
  memory: Memory | null;
  readonly pool: Pool;
  readonly live: Set<WeakRef<Block>>;
  readonly entry: WeakRef<Block>;
}

const finalizers = new FinalizationRegistry<Holding>((holding) => giveBack(holding));

function giveBack({ memory, pool, live, entry }: Holding): void {
  if (memory) pool.give(memory);
  live.delete(entry);
}

/** Device memory with one buffer in it, or with several small ones that one call made: then one entry with the collector's
 *  finalizer does for all of them. It goes back when all have been released, or when the collector has found the last. */
export class Block {
  readonly memory: Memory;
  readonly bytes: number;
  /** Of a block with one buffer: what it is and who made it, for messages about memory. */
  readonly type: TensorType | undefined;
  readonly site: Site | undefined;
  readonly #holding: Holding;
  /** Buffers in it that were not released; those that the collector took are counted too. */
  #residents = 0;

  constructor(memory: Memory, bytes: number, pool: Pool, live: Set<WeakRef<Block>>, type?: TensorType, site?: Site) {
    this.memory = memory;
    this.bytes = bytes;
    this.type = type;
    this.site = site;
    const entry = new WeakRef<Block>(this);
    this.#holding = { memory, pool, live, entry };
    live.add(entry);
    finalizers.register(this, this.#holding, this);
  }

  get residents(): number {
    return this.#residents;
  }

  enter(): void {
    this.#residents++;
  }

  leave(): void {
    if (--this.#residents > 0) return;
    finalizers.unregister(this);
    giveBack(this.#holding);
    this.#holding.memory = null;
  }
}

export class Buffer {
  readonly type: TensorType;
  readonly bytes: number;
  readonly stream: Stream;
  /** Nodes that have it as their value; those that the collector took are counted too. */
  holders = 0;
  /** Whether somebody goes by its being there as it is. */
  isKept = false;
  /** The user's line that made it, for messages about memory. */
  readonly site: Site | undefined;
  /** The point on the stream's timeline at which its contents are there. */
  fence = 0n;
  #block: Block | null = null;
  #region: Region | null = null;
  #failure: Failure | null = null;
  #gone: string | null = null;
  #donated = false;
  #released = false;
  /** Calls and reads that were asked for and have not had it yet. */
  #waiting = 0;

  constructor(type: TensorType, stream: Stream, site?: Site, bytes?: number) {
    this.type = type;
    this.stream = stream;
    this.site = site;
    this.bytes = bytes ?? byteSize(type.dtype, known(sizeOf(type.dims), "a buffer"));
  }

  get allocated(): boolean {
    return this.#block !== null;
  }

  check(): void {
    if (this.#failure) throw this.#failure.get();
    if (this.#gone) throw new DisposedError(`${typeText(this.type)}: ${this.#gone}`);
  }

  /** Keeps its memory, through a `release`, until `letGo`. */
  hold(): void {
    this.#waiting++;
  }

  letGo(): void {
    this.#waiting--;
    if (this.#released && this.#waiting === 0) this.#leave();
  }

  #leave(): void {
    this.#block?.leave();
    this.#block = null;
    this.#region = null;
  }

  /** Like `check` for who holds it: a release since then does not matter.
   *  @throws the failure of the work that makes it; DisposedError after donate */
  checkHeld(): void {
    if (this.#failure || this.#donated) this.check();
  }

  get gone(): boolean {
    return this.#gone !== null;
  }

  /** The failure that it carries, to be handed on to what depends on it. */
  get failure(): Failure | null {
    return this.#failure;
  }

  /** Takes the place that its work writes; also when it was donated or disposed before that work was submitted. */
  adopt(block: Block, region: Region): void {
    block.enter();
    this.#block = block;
    this.#region = region;
  }

  /** Its work was submitted: the memory of one that was disposed before goes now. */
  submitted(): void {
    if (this.#released && this.#waiting === 0) this.#leave();
  }

  fail(failure: Failure): void {
    this.#failure = failure;
    this.#tell();
  }

  /** Its place even after `donate` or an early `release`, for the work that makes it and the call that takes it. */
  get place(): Region {
    if (!this.#region) throw new DisposedError(`${typeText(this.type)}: its memory is not there`);
    return this.#region;
  }

  /** Lets another buffer of its size have its place. */
  surrender(to: Buffer): void {
    const { place } = this;
    to.adopt(this.#block as Block, place);
    this.release();
  }

  /** Marks it used up, at the call that took it; the memory goes when that call's work is submitted. */
  donate(): void {
    this.#donated = true;
    this.#tell();
    this.#gone = "it was donated to a jitted call; use the call's result instead";
  }

  #tell(): void {
    if (this.isKept) changed();
  }

  /** Frees at once, or when the last who holds it lets go. Twice is harmless. */
  release(): void {
    this.#gone ??= "it was disposed";
    this.#released = true;
    this.#tell();
    if (this.#waiting === 0) this.#leave();
  }
}
