/** A server on this machine alone, for pages that tests open: programs from memory and some of the repository's files, with the
 *  headers that are to be tried. */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";

export type Headers = Readonly<Record<string, string>>;

/** What makes a page cross-origin isolated, so that it has shared memory. */
export const isolation: Headers = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
};

export interface Served {
  readonly origin: string;
  close(): void;
}

/** Serves `contents` by their paths, and files below the folders, which are mounted by theirs.
 *  @param folders  a path's beginning, such as "/tests/fixtures/", and the folder that it stands for */
export async function serve(
  contents: ReadonlyMap<string, string | Uint8Array>,
  folders: Readonly<Record<string, string>>,
  headers: Headers,
): Promise<Served> {
  const fileOf = async (name: string): Promise<string | Uint8Array | undefined> => {
    const known = contents.get(name);
    if (known !== undefined) return known;
    for (const [prefix, folder] of Object.entries(folders)) {
      const file = path.join(folder, name.slice(prefix.length));
      if (name.startsWith(prefix) && file.startsWith(path.join(folder, path.sep)))
        return readFile(file).catch(() => undefined);
    }
    return undefined;
  };
  const server = createServer((request, response) => {
    const name = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname);
    void fileOf(name).then((body) => {
      const type = types[path.extname(name)] ?? "application/octet-stream";
      response.writeHead(body === undefined ? 404 : 200, { "content-type": type, ...headers });
      response.end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
