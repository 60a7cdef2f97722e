// Node has no global Worker, so a library written for browsers falls back to one thread. This gives it one over worker_threads.
import { resolveObjectURL } from "node:buffer";
import { Worker as NodeWorker } from "node:worker_threads";

const prelude = `const { parentPort } = require("node:worker_threads"); globalThis.self = globalThis;
  globalThis.postMessage = (m) => parentPort.postMessage(m); parentPort.on("message", (data) => self.onmessage({ data }));\n`;

export function installNodeWorker(threads) {
  globalThis.Worker = class {
    #worker = null;
    #queue = [];
    constructor(url) {
      resolveObjectURL(String(url))
        .text()
        .then((source) => {
          this.#worker = new NodeWorker(prelude + source, { eval: true });
          this.#worker.on("message", (data) => this.onmessage?.({ data }));
          this.#worker.on("error", (error) => this.onerror?.(error));
          for (const m of this.#queue) this.#worker.postMessage(m);
        });
    }
    postMessage(m) {
      if (this.#worker) this.#worker.postMessage(m);
      else this.#queue.push(m);
    }
  };
  const value = { hardwareConcurrency: threads };
  Object.defineProperty(globalThis, "navigator", { value, configurable: true, writable: true });
}
