/** A turn of the host: finalizers, timers and input have theirs only between macrotasks, and a device that computes at once
 *  leaves none. Browsers let nested timers wait 4 ms each, but not messages. */

interface Port {
  addEventListener(type: "message", listener: () => void): void;
  start(): void;
  postMessage(message: null): void;
}

const host = globalThis as {
  readonly process?: unknown;
  readonly MessageChannel?: new () => { readonly port1: Port; readonly port2: Port };
};

const waiting: (() => void)[] = [];
let post: (() => void) | undefined;

/** Resolves in a macrotask of its own: what the host had to do by now is done.
 *  @example await hostTurn() */
export function hostTurn(): Promise<void> {
  return new Promise((resume) => {
    // An open port would keep a process alive.
    if (host.process !== undefined || !host.MessageChannel) return void setTimeout(resume, 0);
    waiting.push(resume);
    post ??= poster(host.MessageChannel);
    post();
  });
}

function poster(Channel: NonNullable<typeof host.MessageChannel>): () => void {
  const { port1, port2 } = new Channel();
  port1.addEventListener("message", () => waiting.shift()?.());
  port1.start();
  return () => port2.postMessage(null);
}
