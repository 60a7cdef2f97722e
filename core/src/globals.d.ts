/** The globals that every JavaScript engine with timers has, and the only ones that `core` may name. `core` is checked
 *  without the types of Node and of the browser, so anything that is not here or in ECMAScript does not compile. */

declare function setTimeout(callback: () => void, milliseconds?: number): unknown;
declare function clearTimeout(timer: unknown): void;
declare function queueMicrotask(callback: () => void): void;

declare const console: {
  log(...items: unknown[]): void;
  warn(...items: unknown[]): void;
  error(...items: unknown[]): void;
};

declare const performance: { now(): number; readonly timeOrigin: number };

declare class TextEncoder {
  encode(text?: string): Uint8Array<ArrayBuffer>;
}

declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(bytes?: ArrayBufferView | ArrayBuffer, options?: { stream?: boolean }): string;
}

/** Where the running module came from: every host of ECMAScript modules says it. */
interface ImportMeta {
  readonly url: string;
}
