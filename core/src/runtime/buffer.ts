/** The storage of one tensor on one device. Counted inside, never in the API: a buffer that no tensor holds is freed by the
 *  collector's finalizer, or at once by `release`. */
import { DisposedError } from "../errors.ts";
import { byteSize } from "../ir/dtype.ts";
import { known, sizeOf } from "../ir/dim.ts";
import type { Site } from "../ir/site.ts";
import { type TensorType, typeText } from "../ir/type.ts";
import type { Memory } from "./driver.ts";
import type { Failure } from "./failure.ts";
import type { Pool } from "./pool.ts";
import type { Stream } from "./stream.ts";

/** What the finalizer needs, apart from the buffer itself. */
interface Holding {
  memory: Memory | null;
  pool: Pool | null;
  /** Its entry among the stream's live buffers. */
  entry: WeakRef<Buffer> | null;
  readonly stream: Stream;
}

const finalizers = new FinalizationRegistry<Holding>((holding) => giveBack(holding));

function giveBack(holding: Holding): void {
  if (holding.memory && holding.pool) holding.pool.give(holding.memory);
  holding.memory = null;
  if (holding.entry) holding.stream.live.delete(holding.entry);
}

export class Buffer {
  readonly type: TensorType;
  readonly bytes: number;
  readonly stream: Stream;
  /** Nodes that have it as their value; those that the collector took are counted too. */
  holders = 0;
  /** The user's line that made it, for messages about memory. */
  readonly site: Site | undefined;
  /** The point on the stream's timeline at which its contents are there. */
  fence = 0n;
  readonly #holding: Holding;
  #failure: Failure | null = null;
  #gone: string | null = null;
  #donated = false;
  #released = false;
  /** Calls and reads that were asked for and have not had it yet. */
  #waiting = 0;

  constructor(type: TensorType, stream: Stream, site?: Site) {
    this.type = type;
    this.stream = stream;
    this.site = site;
    this.bytes = byteSize(type.dtype, known(sizeOf(type.dims), "a buffer"));
    const entry = new WeakRef<Buffer>(this);
    this.#holding = { memory: null, pool: null, entry, stream };
    finalizers.register(this, this.#holding, this);
    stream.live.add(entry);
  }

  get allocated(): boolean {
    return this.#holding.memory !== null;
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
    if (this.#released && this.#waiting === 0) giveBack(this.#holding);
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

  /** Takes the memory that its work writes; also when it was donated or disposed before that work was submitted. */
  adopt(memory: Memory, pool: Pool): void {
    this.#holding.memory = memory;
    this.#holding.pool = pool;
  }

  /** Its work was submitted: the memory of one that was disposed before goes now. */
  submitted(): void {
    if (this.#released && this.#waiting === 0) giveBack(this.#holding);
  }

  fail(failure: Failure): void {
    this.#failure = failure;
  }

  /** Its memory even after `donate` or an early `release`, for the work that makes it and the call that takes it. */
  get donated(): Memory {
    const { memory } = this.#holding;
    if (!memory) throw new DisposedError(`${typeText(this.type)}: its memory is not there`);
    return memory;
  }

  /** Lets its memory go to another buffer. */
  surrender(): Memory {
    const memory = this.donated;
    this.#holding.memory = null;
    this.release();
    return memory;
  }

  /** Marks it used up, at the call that took it; the memory goes when that call's work is submitted. */
  donate(): void {
    this.#donated = true;
    this.#gone = "it was donated to a jitted call; use the call's result instead";
  }

  /** Frees at once, or when the last who holds it lets go. Twice is harmless. */
  release(): void {
    this.#gone ??= "it was disposed";
    this.#released = true;
    finalizers.unregister(this);
    if (this.#waiting === 0) giveBack(this.#holding);
  }
}
