/** What stands in for `node:fs` and `node:fs/promises` in a page: files of the repository are asked of the server. Tests read
 *  while their module runs, so the request is synchronous. */

interface Request {
  open(method: string, url: string, isAsync: boolean): void;
  overrideMimeType(type: string): void;
  send(): void;
  readonly status: number;
  readonly responseText: string;
}

const { XMLHttpRequest } = globalThis as unknown as { readonly XMLHttpRequest: new () => Request };

export function readFileSync(path: string | URL, encoding: "utf8"): string;
export function readFileSync(path: string | URL): Uint8Array<ArrayBuffer>;
export function readFileSync(path: string | URL, encoding?: "utf8"): string | Uint8Array<ArrayBuffer> {
  const request = new XMLHttpRequest();
  request.open("GET", String(path), false);
  // A synchronous request of a page gives text only: one character a byte.
  request.overrideMimeType("text/plain; charset=x-user-defined");
  request.send();
  if (request.status !== 200) throw new Error(`${String(path)}: status ${request.status}`);
  const bytes = Uint8Array.from(request.responseText, (character) => character.charCodeAt(0) & 0xff);
  return encoding === undefined ? bytes : new TextDecoder().decode(bytes);
}

export const readFile = (path: string | URL, encoding: "utf8"): Promise<string> =>
  Promise.resolve(readFileSync(path, encoding));
