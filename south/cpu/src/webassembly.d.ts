/** The part of the WebAssembly JavaScript API that the CPU device uses. It is in no ECMAScript library and not in Node's
 *  types; the browser's library has it, together with a thousand names that must not be used here. */

declare namespace WebAssembly {
  type ImportValue = Memory | Table | Global | ((...args: never[]) => unknown) | number | bigint;
  type Imports = Record<string, Record<string, ImportValue>>;
  type ExportValue = Memory | Table | Global | ((...args: (number | bigint)[]) => unknown);

  interface MemoryDescriptor {
    initial: number;
    maximum?: number;
    shared?: boolean;
  }

  class Memory {
    constructor(descriptor: MemoryDescriptor);
    readonly buffer: ArrayBuffer | SharedArrayBuffer;
    grow(pages: number): number;
  }

  class Table {
    constructor(descriptor: { element: "anyfunc" | "externref"; initial: number; maximum?: number });
    readonly length: number;
    get(index: number): unknown;
    set(index: number, value: unknown): void;
    grow(by: number): number;
  }

  class Global {
    constructor(
      descriptor: { value: "i32" | "i64" | "f32" | "f64" | "v128"; mutable?: boolean },
      value?: number | bigint,
    );
    value: number | bigint;
  }

  class Module {
    constructor(bytes: ArrayBufferView | ArrayBuffer);
    static exports(module: Module): { name: string; kind: string }[];
    static customSections(module: Module, name: string): ArrayBuffer[];
    static imports(module: Module): { module: string; name: string; kind: string }[];
  }

  class Instance {
    constructor(module: Module, imports?: Imports);
    readonly exports: Readonly<Record<string, ExportValue>>;
  }

  class CompileError extends Error {}
  class LinkError extends Error {}
  class RuntimeError extends Error {}

  function validate(bytes: ArrayBufferView | ArrayBuffer): boolean;
  function compile(bytes: ArrayBufferView | ArrayBuffer): Promise<Module>;
  function instantiate(module: Module, imports?: Imports): Promise<Instance>;
}
