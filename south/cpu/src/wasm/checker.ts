/** Follows the operand stack of a function while it is emitted, and throws at the first instruction that does not fit:
 *  an engine only says at which byte of the finished module validation failed. Built in debug mode only.
 *  Source: WebAssembly core specification 3.0, appendix "Validation algorithm". */

import { VerifyError } from "sinan/south";
import type { Opcode, ValType } from "./opcodes.ts";

/** Below an instruction that never continues, an operand may have any type. */
type Operand = ValType | "any";

export type ImmediateValue = number | readonly number[];

interface Frame {
  readonly kind: "function" | "block" | "loop" | "if" | "else";
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
  /** Operands on the stack below the frame's own. */
  readonly height: number;
  unreachable: boolean;
}

/** The checker of one function: its name, and what it leaves. */
export type CheckerFor = (functionName: string, results: readonly ValType[]) => StackChecker;

export const stackChecker: CheckerFor = (functionName, results) => new StackChecker(functionName, results);

export class StackChecker {
  readonly #functionName: string;
  readonly #stack: Operand[] = [];
  readonly #frames: Frame[];
  #instruction = -1;
  #mnemonic = "";

  constructor(functionName: string, results: readonly ValType[]) {
    this.#functionName = functionName;
    this.#frames = [{ kind: "function", params: [], results, height: 0, unreachable: false }];
  }

  /** Names the instruction that the calls up to the next `begin` belong to. */
  begin(mnemonic: string): void {
    this.#instruction++;
    this.#mnemonic = mnemonic;
  }

  fail(problem: string, hint?: string): never {
    const where = `wasm function "${this.#functionName}", instruction ${this.#instruction} (${this.#mnemonic})`;
    throw new VerifyError(`${where}: ${problem}`, { hint: hint ?? `the stack holds [${this.#stack.join(", ")}]` });
  }

  #top(): Frame {
    const frame = this.#frames.at(-1);
    return frame ?? this.fail("comes after the function's end");
  }

  push(types: readonly Operand[]): void {
    for (const type of types) this.#stack.push(type);
  }

  #popOne(expected: Operand): Operand {
    const frame = this.#top();
    const found = this.#stack.length > frame.height ? this.#stack.pop() : frame.unreachable ? "any" : undefined;
    if (found === undefined) {
      const wanted = expected === "any" ? "an operand" : `an operand of type ${expected}`;
      return this.fail(`expected ${wanted}, but this ${frame.kind} has none left`);
    }
    if (found !== expected && found !== "any" && expected !== "any") {
      this.#stack.push(found);
      this.fail(`expected an operand of type ${expected}, found ${found}`);
    }
    return found === "any" ? expected : found;
  }

  pop(types: readonly Operand[]): void {
    for (let i = types.length - 1; i >= 0; i--) this.#popOne(types[i] ?? "any");
  }

  op(opcode: Opcode): void {
    this.pop(opcode.operands);
    this.push(opcode.results);
  }

  /** The immediates in the order that `FunctionBody.op` takes them. */
  immediates(opcode: Opcode, first?: ImmediateValue, second?: number, third?: number): void {
    switch (opcode.immediate) {
      case "memory":
        return this.#place(opcode, first, second);
      case "memoryLane":
        this.#lane(first, 16 / opcode.size);
        return this.#place(opcode, second, third);
      case "lane":
        return this.#lane(first, opcode.size);
      case "shuffle": {
        const lanes = typeof first === "object" ? first : [];
        if (lanes.length !== 16) this.fail(`takes 16 lanes, ${lanes.length} came`);
        for (const lane of lanes) this.#lane(lane, opcode.size);
        return;
      }
      case "zeros":
      case undefined:
        return;
      default:
        opcode.immediate satisfies never;
    }
  }

  #lane(value: ImmediateValue | undefined, count: number): void {
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < count) return;
    this.fail(`lane ${String(value)} is not an integer from 0 to ${count - 1}`);
  }

  #place(opcode: Opcode, offset: ImmediateValue = 0, align = opcode.size): void {
    if (typeof offset !== "number" || !Number.isInteger(offset) || offset < 0 || offset > 0xffff_ffff) {
      this.fail(`offset ${String(offset)} is not an integer in [0, 2^32)`);
    }
    const exact = opcode.name.includes("atomic");
    if (!Number.isInteger(Math.log2(align)) || align < 1 || align > opcode.size || (exact && align < opcode.size)) {
      this.fail(`alignment ${align} is not a power of two ${exact ? "equal to" : "up to"} ${opcode.size} bytes`);
    }
  }

  /** `tee` and `br_if` look at operands and leave them. */
  keep(types: readonly ValType[]): void {
    this.pop(types);
    this.push(types);
  }

  drop(): void {
    this.#popOne("any");
  }

  select(): void {
    this.#popOne("i32");
    const second = this.#popOne("any");
    this.#stack.push(this.#popOne(second));
  }

  /** The rest of the frame cannot be reached. */
  stop(): void {
    const frame = this.#top();
    this.#stack.length = frame.height;
    frame.unreachable = true;
  }

  open(kind: "block" | "loop" | "if" | "else", params: readonly ValType[], results: readonly ValType[]): void {
    this.pop(params);
    this.#frames.push({ kind, params, results, height: this.#stack.length, unreachable: false });
    this.push(params);
  }

  #leave(): Frame {
    const frame = this.#top();
    this.pop(frame.results);
    const extra = this.#stack.length - frame.height;
    if (extra > 0)
      this.fail(`leaves ${extra} operand(s) more than the ${frame.kind}'s results [${frame.results.join()}]`);
    this.#frames.pop();
    return frame;
  }

  else(): void {
    const kind = this.#top().kind;
    if (kind !== "if") this.fail(`has no if to belong to: the innermost frame is a ${kind}`);
    const frame = this.#leave();
    this.push(frame.params);
    this.open("else", frame.params, frame.results);
  }

  end(): void {
    const frame = this.#leave();
    if (frame.kind === "if" && frame.params.join() !== frame.results.join()) {
      this.fail(
        `an if without else must give back what it takes, but takes [${frame.params.join()}] for [${frame.results.join()}]`,
      );
    }
    this.push(frame.results);
  }

  /** The types a branch to `label` (0 is the function, 1 its outermost block) carries. */
  label(label: number): readonly ValType[] {
    const frame = this.#frames[label];
    if (frame === undefined) {
      return this.fail(`branches to label ${label}, which is not open: ${this.#frames.length - 1} blocks are`);
    }
    return frame.kind === "loop" ? frame.params : frame.results;
  }
}
