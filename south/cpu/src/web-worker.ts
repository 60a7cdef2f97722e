/** The program of a Web Worker as a file, for pages whose content-security policy allows no worker made of a text: bundle it
 *  as an entry of its own and give its address, `device("cpu", { options: { worker: "/sinan-worker.js" } })`. */

import { math } from "./math.ts";
import { field, layout, serving, type Start } from "./worker.ts";

const scope = globalThis as unknown as {
  addEventListener?(type: "message", listener: (event: { readonly data: Start }) => void): void;
  postMessage(message: unknown, transfer: readonly unknown[]): void;
};

const serve = serving(layout, field, math, () => scope.postMessage(0, []));
// Nothing to do where it is merely imported.
scope.addEventListener?.("message", ({ data }) => serve(data));
