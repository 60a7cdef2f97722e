/** One open device and the order of its work. What JavaScript asks for is submitted in that order: at once when the device
 *  is open and nothing waits, otherwise when what it waits for (the device, a kernel still compiling) is there. */
import { DeviceError } from "../errors.ts";
import { type Site, siteText } from "../ir/site.ts";
import { type TensorType, typeText } from "../ir/type.ts";
import { Block, Buffer } from "./buffer.ts";
import type { Command, Device, Fence, Region } from "./driver.ts";
import { failureOf } from "./failure.ts";
import type { HardwareModel } from "./hardware.ts";
import { mib, Pool } from "./pool.ts";
import { clock, watch } from "./watch.ts";

let timelines = 0;

interface Open {
  readonly device: Device;
  readonly pool: Pool;
}

export class Stream {
  readonly name: string;
  readonly live = new Set<WeakRef<Block>>();
  readonly #timeline = timelines++;
  #clock = 0n;
  #open: Open | null = null;
  #opening: Promise<void>;
  #tail: Promise<void> | null = null;
  #tickets = 0;
  #budget: number | undefined;

  constructor(name: string, opening: Promise<Device>) {
    this.name = name;
    this.#opening = opening.then((device) => {
      this.#open = {
        device,
        pool: new Pool(device, Math.min(this.#budget ?? Number.POSITIVE_INFINITY, device.hardware.limits.maxBytes)),
      };
    });
    this.#tail = this.#opening.then(
      () => {
        if (this.#tickets === 0) this.#idle();
      },
      () => {},
    );
  }

  #idle(): void {
    this.#tail = null;
  }

  /** Resolves when the device is open. @throws (as a rejection) DeviceError if it cannot be */
  async opened(): Promise<Device> {
    await this.#opening;
    return this.device;
  }

  /** @throws DeviceError while it is not open */
  get device(): Device {
    return this.#required().device;
  }

  get hardware(): HardwareModel | null {
    return this.#open?.device.hardware ?? null;
  }

  get pool(): Pool {
    return this.#required().pool;
  }

  #required(): Open {
    if (this.#open) return this.#open;
    throw new DeviceError(`the device ${this.name} is not open yet`, {
      hint: `await device(${JSON.stringify(this.name)}) first`,
    });
  }

  /** Bytes that live tensors may take; the default is what the device has. */
  set budget(bytes: number) {
    this.#budget = bytes;
    if (this.#open) this.#open.pool.budget = Math.min(bytes, this.#open.device.hardware.limits.maxBytes);
  }

  /** Runs `task` in its turn, after `ready`. If it, or what it depends on, fails, the outputs carry the failure.
   *  @param also  inputs that are known to be there */
  schedule(
    inputs: readonly Buffer[],
    outputs: readonly Buffer[],
    ready: Promise<unknown> | null,
    task: () => Promise<void> | undefined | void,
    also: readonly (Buffer | number)[] = [],
  ): void {
    const run = () => {
      const failed = inputs.find((b) => b.failure)?.failure;
      if (!failed) return task();
      for (const b of outputs) b.fail(failed);
    };
    if (!this.#tail && !ready) {
      try {
        // What goes on by itself comes with a promise to wait for, so this is done when it returns.
        void run();
      } catch (cause) {
        poison(outputs, cause);
      }
      return;
    }
    const held = [...inputs, ...also.filter((a) => typeof a !== "number")];
    const done = () => {
      for (const b of held) b.letGo();
    };
    for (const b of held) b.hold();
    const before = this.#tail;
    const ticket = ++this.#tickets;
    this.#tail = (async () => {
      try {
        await before;
        await ready;
        if (!this.#open) await this.#opening;
        await run();
      } catch (cause) {
        poison(outputs, cause);
      } finally {
        done();
      }
      if (this.#tickets === ticket) this.#idle();
    })();
  }

  /** Submits commands that read `inputs` and write `outputs`. */
  submit(commands: readonly Command[], inputs: readonly Buffer[], outputs: readonly Buffer[]): void {
    const { device } = this;
    const signal = this.#next();
    const wait = new Map<bigint, Fence>();
    let seen = 0n;
    for (const { fence } of inputs) {
      if (fence === seen) continue;
      seen = fence;
      if (fence > this.#passed) wait.set(fence, { timeline: this.#timeline, value: fence });
    }
    for (const b of outputs) b.fence = signal.value;
    device.submit("compute", commands, [...wait.values()], signal);
    try {
      const reached = device.poll(signal);
      if (reached >= signal.value) {
        this.#passed = signal.value;
        return;
      }
    } catch (cause) {
      poison(outputs, cause);
      return;
    }
    device.wait(signal).then(
      () => {
        if (signal.value > this.#passed) this.#passed = signal.value;
      },
      (cause: unknown) => poison(outputs, cause),
    );
  }

  /** The first byte of a region once the work behind the buffers is done.
   *  @throws (as a rejection) that work's failure */
  peek(region: Region, after: readonly Buffer[]): number | Promise<number> {
    const { device } = this;
    const value = after.reduce((most, { fence }) => (fence > most ? fence : most), 0n);
    const fence = { timeline: this.#timeline, value };
    const { memory, offset } = region;
    if (!device.hardware.unified || !memory.view) return this.#peekCopy(region, fence);
    const now = () => (memory.view as () => Uint8Array)()[offset] as number;
    return value <= this.#passed ? now() : device.wait(fence).then(now);
  }

  async #peekCopy(region: Region, after: Fence): Promise<number> {
    const { device } = this;
    const staging = device.alloc(region.bytes, "host");
    try {
      const copied = this.#next();
      const to = { memory: staging, offset: 0, bytes: region.bytes };
      device.submit("compute", [{ kind: "copy", from: region, to }], [after], copied);
      await device.wait(copied);
      return staging.view?.()[0] ?? 0;
    } finally {
      device.free(staging);
    }
  }

  /** Whether the work that makes a buffer has passed. */
  hasMade(buffer: Buffer): boolean {
    return buffer.allocated && !buffer.failure && !buffer.gone && buffer.fence <= this.#passed;
  }

  /** The highest point known to have passed without failure. */
  #passed = 0n;

  #next(): Fence {
    this.#clock += 1n;
    return { timeline: this.#timeline, value: this.#clock };
  }

  /** Gives a buffer memory. */
  allocate(buffer: Buffer): Region {
    const { type, site, bytes } = buffer;
    const block = this.#block(bytes, type, site);
    buffer.adopt(block, { memory: block.memory, offset: 0, bytes });
    return buffer.place;
  }

  /** Gives several buffers of one size a block that they share, each beginning at a multiple of `step` bytes. */
  allocateTogether(buffers: readonly Buffer[], step: number): void {
    const block = this.#block(step * buffers.length);
    buffers.forEach((b, i) => {
      b.adopt(block, { memory: block.memory, offset: i * step, bytes: b.bytes });
    });
  }

  #block(bytes: number, type?: TensorType, site?: Site): Block {
    const { pool } = this;
    return new Block(
      pool.take(bytes, () => this.holders()),
      bytes,
      pool,
      this.live,
      type,
      site,
    );
  }

  /** A new buffer with these bytes, which are copied before this returns. */
  upload(type: TensorType, bytes: Uint8Array, site?: Site): Buffer {
    const buffer = new Buffer(type, this, site);
    const own = this.#tail || !this.#open ? bytes.slice() : bytes;
    this.schedule([], [buffer], null, () => {
      this.allocate(buffer);
      const { device } = this;
      const view = this.#idleView(buffer);
      if (view) {
        view.set(own);
        buffer.submitted();
        return;
      }
      const staging = device.alloc(buffer.bytes, "host");
      staging.view?.().set(own);
      this.submit(
        [{ kind: "copy", from: { memory: staging, offset: 0, bytes: buffer.bytes }, to: buffer.place }],
        [],
        [buffer],
      );
      buffer.submitted();
      const done = () => device.free(staging);
      device.wait({ timeline: this.#timeline, value: buffer.fence }).then(done, done);
    });
    return buffer;
  }

  /** A new buffer of so many times this byte: nothing is made of it in the host's memory. */
  filled(type: TensorType, byte: number): Buffer {
    const buffer = new Buffer(type, this);
    this.schedule([], [buffer], null, () => {
      this.allocate(buffer);
      const view = this.#idleView(buffer);
      if (view) view.fill(byte);
      else this.submit([{ kind: "fill", to: buffer.place, byte }], [], [buffer]);
      buffer.submitted();
    });
    return buffer;
  }

  /** Memory that the host may write to at once, as no work is under way. */
  #idleView({ place: { memory, offset, bytes } }: Buffer): Uint8Array | undefined {
    const idle = this.device.hardware.unified && this.#passed === this.#clock;
    return idle ? memory.view?.().subarray(offset, offset + bytes) : undefined;
  }

  /** A copy of a buffer's bytes, once they are there. Gives the collector a turn now and then.
   *  @throws (as a rejection) the failure of the work behind it */
  async read(buffer: Buffer): Promise<Uint8Array<ArrayBuffer>> {
    buffer.check();
    buffer.hold();
    const { by } = watch;
    const begin = by ? clock() : 0;
    try {
      return await this.#read(buffer);
    } finally {
      by?.event("read", typeText(buffer.type), begin, clock());
      buffer.letGo();
    }
  }

  async #read(buffer: Buffer): Promise<Uint8Array<ArrayBuffer>> {
    for (let turn = this.#tail; turn; turn = this.#tail) await turn;
    buffer.checkHeld();
    await this.#opening;
    const { device, pool } = this;
    const fence = { timeline: this.#timeline, value: buffer.fence };
    if (buffer.fence > this.#passed) await this.#settled(buffer, fence);
    let bytes: Uint8Array<ArrayBuffer>;
    buffer.checkHeld();
    const { memory, offset } = buffer.place;
    if (device.hardware.unified && memory.view) bytes = memory.view().slice(offset, offset + buffer.bytes);
    else {
      const staging = device.alloc(buffer.bytes, "host");
      const copied = this.#next();
      device.submit(
        "compute",
        [{ kind: "copy", from: buffer.place, to: { memory: staging, offset: 0, bytes: buffer.bytes } }],
        [fence],
        copied,
      );
      try {
        await this.#settled(buffer, copied);
        bytes = staging.view?.().slice(0, buffer.bytes) ?? new Uint8Array();
      } finally {
        device.free(staging);
      }
    }
    await pool.collect();
    return bytes;
  }

  async #settled(buffer: Buffer, fence: Fence): Promise<void> {
    try {
      await this.device.wait(fence);
    } catch (cause) {
      // The submission's own watcher poisons the buffer too; whichever comes first, the reader has now seen it.
      if (!buffer.failure) poison([buffer], cause);
      throw buffer.failure?.get() ?? cause;
    }
  }

  /** The largest live tensors, for a message about memory; of one size those first whose lines are known. */
  holders(plan?: { readonly name: string; readonly blocks: readonly number[] }): string {
    const live = [...this.live].flatMap((ref) => ref.deref() ?? []);
    const largest = live.sort((a, b) => b.bytes - a.bytes || +!a.site - +!b.site).slice(0, 5);
    const lines = largest.map(({ bytes, type, site, residents }) => {
      const line = site && siteText(site);
      return `${mib(bytes)} ${type ? typeText(type) : `${residents} small ones`}${line ? ` made at ${line}` : ""}`;
    });
    const step = plan ? `the temporaries of ${plan.name} take ${mib(plan.blocks.reduce((a, b) => a + b, 0))}; ` : "";
    return `${step}the largest of ${live.length} live tensors: ${lines.join("; ")}. A loop that never awaits a read gives the collector no turn: await one every few steps, donate the old state, or dispose with \`using\``;
  }

  /** Waits for everything asked for so far, then closes the device. */
  async close(): Promise<void> {
    for (let turn = this.#tail; turn; turn = this.#tail) await turn;
    await this.#opening;
    await this.device.close();
  }
}

function poison(outputs: readonly Buffer[], cause: unknown): void {
  if (outputs.length === 0) return;
  const failure = failureOf(cause);
  for (const b of outputs) if (!b.failure) b.fail(failure);
}
