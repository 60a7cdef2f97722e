/** The worker of the page: it has the processor, and its threads are workers of its own. The page stays free to draw. */
import "@sinan/cpu";
import { device } from "sinan";
import { learn } from "./learn.ts";
import type { Answer, Asked, Settings } from "./messages.ts";

const scope = globalThis as unknown as {
  readonly location: { readonly href: string };
  addEventListener(type: "message", listener: (event: { readonly data: Asked }) => void): void;
  postMessage(message: Answer, transfer: readonly unknown[]): void;
};

let stopping = new AbortController();

scope.addEventListener("message", ({ data }) => {
  stopping.abort();
  if (data.ask === "start") void start(data.settings);
});

async function start(settings: Settings): Promise<void> {
  stopping = new AbortController();
  try {
    // The threads' program is a file, since the server's content-security policy allows no workers made of text.
    await device("cpu", { options: { worker: new URL("threads.js", scope.location.href).href } });
    for await (const told of learn(settings, stopping.signal)) scope.postMessage(told, []);
  } catch (cause) {
    scope.postMessage({ event: "error", message: String(cause) }, []);
  }
}
