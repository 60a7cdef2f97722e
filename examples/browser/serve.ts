/** `node examples/browser/serve.ts [PORT]`: builds the page and serves it to this machine. Two of the headers isolate the page, so
 *  that its workers share memory; the third lets it run nothing but its own files and the WebAssembly that it makes. */
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import path from "node:path";
import { buildPage } from "./build.ts";

const headers = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "content-security-policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'",
};

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
};

/** Serves the files of a folder, none below it. */
export const servePage = (folder: string): Server =>
  createServer((request, response) => {
    const name = path.posix.basename(new URL(request.url ?? "/", "http://localhost").pathname) || "index.html";
    readFile(path.join(folder, name)).then(
      (body) => {
        response.writeHead(200, {
          "content-type": types[path.extname(name)] ?? "application/octet-stream",
          ...headers,
        });
        response.end(body);
      },
      () => {
        response.writeHead(404, headers);
        response.end();
      },
    );
  });

if (import.meta.main) {
  const port = Number(process.argv[2] ?? 8000);
  const folder = await buildPage();
  servePage(folder).listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}`));
}
