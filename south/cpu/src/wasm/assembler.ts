/** Builds a WebAssembly module's bytes directly, without text in between: types, imports, functions, exports
 *  and the names that a trap's stack shows. Imports come before functions, so an index is final when given out.
 *  Source: WebAssembly core specification 3.0, chapter 5.5. */

import { ArgumentError } from "sinan/south";
import { type BodyOf, FunctionBody, type FunctionType, type ModuleScope, valTypeCode } from "./body.ts";
import { ByteWriter } from "./bytes.ts";
import type { ValType } from "./opcodes.ts";

export type { FunctionBody } from "./body.ts";
export type { ValType } from "./opcodes.ts";

export interface ModuleOptions {
  /** Makes what follows the operand stack while a function is emitted: a mistake throws VerifyError at its instruction. For
   *  tests and debugging, as `stackChecker` of `checker.ts`. */
  readonly check?: BodyOf | undefined;
}

/** Sizes in pages of 64 KiB. A shared memory needs a maximum. */
export interface MemoryLimits {
  readonly min: number;
  readonly max?: number | undefined;
  readonly shared?: boolean | undefined;
}

export interface FunctionOptions {
  /** Shown in stack traces; `function N` when left out. */
  readonly name?: string | undefined;
  /** Also the export's name; `true` takes `name`. */
  readonly export?: string | true | undefined;
}

export type Emit = (body: FunctionBody, ...params: number[]) => void;

export interface WasmModule {
  /** Returns its index, by which loads and stores name it. */
  importMemory(module: string, name: string, limits: MemoryLimits): number;
  importFunction(module: string, name: string, params: readonly ValType[], results: readonly ValType[]): number;
  /** Emits a function; `emit` gets the body and the indices of the parameters, and may call what has an index, itself too. Returns
   *  the function's index. */
  fn(params: readonly ValType[], results: readonly ValType[], emit: Emit, options?: FunctionOptions): number;
  /** A custom section of this text. */
  note(name: string, text: string): void;
  /** The finished module, in memory of its own. More may be added and `bytes` called again. */
  bytes(): Uint8Array<ArrayBuffer>;
}

const section = { custom: 0, type: 1, import: 2, function: 3, export: 7, code: 10 } as const;
const external = { function: 0, memory: 2 } as const;
const MAX_PAGES = 65536;

interface Definition {
  readonly type: number;
  readonly name: string;
  readonly body: ByteWriter;
}

/** An empty module.
 *
 *  @example
 *  const module = wasmModule();
 *  module.fn(["i32", "i32"], ["i32"], (f, a, b) => {
 *    f.get(a);
 *    f.get(b);
 *    f.op("i32.add");
 *  }, { name: "add", export: true });
 *  new WebAssembly.Instance(new WebAssembly.Module(module.bytes())).exports.add(2, 3);   // 5 */
export function wasmModule(options: ModuleOptions = {}): WasmModule {
  const types: FunctionType[] = [];
  const typeIndices = new Map<string, number>();
  const imports = list();
  const importedFunctions: { readonly type: number; readonly name: string }[] = [];
  const definitions: Definition[] = [];
  const exports = list();
  const exportNames = new Set<string>();
  const notes: ByteWriter[] = [];
  let memoryCount = 0;

  const scope: ModuleScope = {
    typeIndex(params, results) {
      const key = `${params.join()}:${results.join()}`;
      const known = typeIndices.get(key);
      if (known !== undefined) return known;
      const index = types.push({ params: [...params], results: [...results] }) - 1;
      typeIndices.set(key, index);
      return index;
    },
    functionType(index) {
      const entry = importedFunctions[index] ?? definitions[index - importedFunctions.length];
      return entry && types[entry.type];
    },
  };

  function addExport(name: string, kind: number, index: number): void {
    if (exportNames.has(name)) throw new ArgumentError(`wasm module: "${name}" is exported twice`);
    exportNames.add(name);
    exports.count++;
    exports.entries.name(name);
    exports.entries.byte(kind);
    exports.entries.u32(index);
  }

  return {
    importMemory(module, name, limits) {
      imports.count++;
      imports.entries.name(module);
      imports.entries.name(name);
      imports.entries.byte(external.memory);
      writeLimits(imports.entries, limits);
      return memoryCount++;
    },

    importFunction(module, name, params, results) {
      if (definitions.length > 0) {
        throw new ArgumentError(`wasm module: import of ${module}.${name} comes after a function`, {
          hint: "functions are numbered behind the imports: import everything first",
        });
      }
      const type = scope.typeIndex(params, results);
      imports.count++;
      imports.entries.name(module);
      imports.entries.name(name);
      imports.entries.byte(external.function);
      imports.entries.u32(type);
      return importedFunctions.push({ type, name: `${module}.${name}` }) - 1;
    },

    fn(params, results, emit, functionOptions = {}) {
      const index = importedFunctions.length + definitions.length;
      const exportName = functionOptions.export === true ? functionOptions.name : functionOptions.export;
      const name = functionOptions.name ?? exportName ?? `function ${index}`;
      if (functionOptions.export !== undefined) addExport(exportName ?? name, external.function, index);
      const type = { params, results };
      const written = new ByteWriter(1024);
      definitions.push({ type: scope.typeIndex(params, results), name, body: written });
      const body = options.check?.(scope, name, type) ?? new FunctionBody(scope, name, type);
      emit(body, ...params.keys());
      body.finish(written);
      return index;
    },

    note(name, text) {
      const content = new ByteWriter(text.length + 16);
      content.name(name);
      content.bytes(new TextEncoder().encode(text));
      notes.push(content);
    },

    bytes() {
      const typeList = list();
      for (const type of types) {
        typeList.count++;
        typeList.entries.byte(0x60);
        writeTypes(typeList.entries, type.params);
        writeTypes(typeList.entries, type.results);
      }
      const functions = list();
      const code = list();
      const names = list();
      for (const [index, { name }] of [...importedFunctions, ...definitions].entries()) {
        names.count++;
        names.entries.u32(index);
        names.entries.name(name);
      }
      for (const { type, body } of definitions) {
        functions.count++;
        functions.entries.u32(type);
        code.count++;
        code.entries.bytes(body.written());
      }
      const out = new ByteWriter(code.entries.length + 1024);
      out.bytes([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
      writeSection(out, section.type, typeList);
      writeSection(out, section.import, imports);
      writeSection(out, section.function, functions);
      writeSection(out, section.export, exports);
      writeSection(out, section.code, code);
      for (const content of notes) {
        out.byte(section.custom);
        out.sized(content);
      }
      writeNames(out, names);
      return out.written().slice();
    },
  };
}

/** Entries of a section, whose count is written before them. */
interface List {
  count: number;
  readonly entries: ByteWriter;
}

function list(): List {
  return { count: 0, entries: new ByteWriter() };
}

function writeList(out: ByteWriter, { count, entries }: List): void {
  out.u32(count);
  out.bytes(entries.written());
}

function writeSection(out: ByteWriter, id: number, content: List): void {
  if (content.count === 0) return;
  const sized = new ByteWriter(content.entries.length + 8);
  writeList(sized, content);
  out.byte(id);
  out.sized(sized);
}

/** The custom section "name", of which only the functions' names (subsection 1) are written. */
function writeNames(out: ByteWriter, names: List): void {
  if (names.count === 0) return;
  const functions = new ByteWriter(names.entries.length + 8);
  writeList(functions, names);
  const content = new ByteWriter(functions.length + 16);
  content.name("name");
  content.byte(1);
  content.sized(functions);
  out.byte(section.custom);
  out.sized(content);
}

function writeTypes(out: ByteWriter, types: readonly ValType[]): void {
  out.u32(types.length);
  for (const type of types) out.byte(valTypeCode[type]);
}

function writeLimits(out: ByteWriter, { min, max, shared = false }: MemoryLimits): void {
  const pages = (value: number) => Number.isInteger(value) && value >= 0 && value <= MAX_PAGES;
  if (!pages(min) || (max !== undefined && !(pages(max) && max >= min)) || (shared && max === undefined)) {
    const given = `min ${min}, max ${max}${shared ? ", shared" : ""}`;
    throw new ArgumentError(`wasm module: memory of ${given} pages`, {
      hint: `0 <= min <= max <= ${MAX_PAGES} pages of 64 KiB, and a shared memory needs max`,
    });
  }
  out.byte((max === undefined ? 0 : 1) | (shared ? 2 : 0));
  out.u32(min);
  if (max !== undefined) out.u32(max);
}
