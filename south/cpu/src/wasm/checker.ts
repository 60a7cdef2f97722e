/** Follows the operand stack of a function while it is emitted, and throws at the first instruction that does not fit:
 *  an engine only says at which byte of the finished module validation failed. Built in debug mode only.
 *  Source: WebAssembly core specification 3.0, appendix "Validation algorithm". */

import { VerifyError } from "sinan/south";
import {
  type BodyOf,
  FunctionBody,
  type FunctionType,
  type ImmediateValue,
  type Label,
  type ModuleScope,
} from "./body.ts";
import type { ByteWriter } from "./bytes.ts";
import { type Immediates, type Opcode, type OpName, opcodes, type ValType } from "./opcodes.ts";

/** Below an instruction that never continues, an operand may have any type. */
type Operand = ValType | "any";

interface Frame {
  readonly kind: "function" | "block" | "loop" | "if" | "else";
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
  /** Operands on the stack below the frame's own. */
  readonly height: number;
  unreachable: boolean;
}

/** Bodies that throw VerifyError at the instruction that does not fit. */
export const stackChecker: BodyOf = (scope, name, type) => new CheckedBody(scope, name, type);

class StackChecker {
  readonly #functionName: string;
  readonly #stack: Operand[] = [];
  readonly #frames: Frame[];
  #instruction = -1;
  #mnemonic = "";

  constructor(functionName: string, results: readonly ValType[]) {
    this.#functionName = functionName;
    this.#frames = [{ kind: "function", params: [], results, height: 0, unreachable: false }];
  }

  /** How many are open. */
  get blocks(): number {
    return this.#frames.length - 1;
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

class CheckedBody extends FunctionBody {
  readonly #scope: ModuleScope;
  readonly #type: FunctionType;
  readonly #stack: StackChecker;
  /** Of the locals that are allocated; undefined for one that was released. */
  readonly #locals: (ValType | undefined)[];

  constructor(scope: ModuleScope, name: string, type: FunctionType) {
    super(scope, name, type);
    this.#scope = scope;
    this.#type = type;
    this.#stack = new StackChecker(name, type.results);
    this.#locals = [...type.params];
  }

  override local(type: ValType): number {
    const index = super.local(type);
    this.#locals[index] = type;
    return index;
  }

  override release(...locals: readonly number[]): void {
    super.release(...locals);
    for (const local of locals) this.#locals[local] = undefined;
  }

  #at(mnemonic: string): StackChecker {
    this.#stack.begin(mnemonic);
    return this.#stack;
  }

  #typeOf(local: number): ValType {
    const stack = this.#stack;
    if (local >= this.#locals.length) stack.fail(`there is no local ${local}: ${this.#locals.length} are allocated`);
    return this.#locals[local] ?? stack.fail(`local ${local} was released`);
  }

  override get(local: number): void {
    this.#at("local.get").push([this.#typeOf(local)]);
    super.get(local);
  }

  override set(local: number): void {
    this.#at("local.set").pop([this.#typeOf(local)]);
    super.set(local);
  }

  override tee(local: number): void {
    this.#at("local.tee").keep([this.#typeOf(local)]);
    super.tee(local);
  }

  override i32(value: number): void {
    this.#at("i32.const").push(["i32"]);
    super.i32(value);
  }

  override i64(value: bigint | number): void {
    this.#at("i64.const").push(["i64"]);
    super.i64(value);
  }

  override f32(value: number): void {
    this.#at("f32.const").push(["f32"]);
    super.f32(value);
  }

  override f64(value: number): void {
    this.#at("f64.const").push(["f64"]);
    super.f64(value);
  }

  override v128(bytes: ArrayLike<number>): void {
    this.#at("v128.const").push(["v128"]);
    super.v128(bytes);
  }

  override op<N extends OpName>(name: N, ...immediates: Immediates<N>): void {
    const opcode: Opcode = opcodes[name];
    const [first, second, third] = immediates as readonly [ImmediateValue?, number?, number?];
    const stack = this.#at(name);
    stack.immediates(opcode, first, second, third);
    stack.op(opcode);
    super.op(name, ...immediates);
  }

  override drop(): void {
    this.#at("drop").drop();
    super.drop();
  }

  override select(): void {
    this.#at("select").select();
    super.select();
  }

  override block(results: readonly ValType[] = [], params: readonly ValType[] = []): Label {
    this.#at("block").open("block", params, results);
    return super.block(results, params);
  }

  override loop(results: readonly ValType[] = [], params: readonly ValType[] = []): Label {
    this.#at("loop").open("loop", params, results);
    return super.loop(results, params);
  }

  override if(results: readonly ValType[] = [], params: readonly ValType[] = []): Label {
    const stack = this.#at("if");
    stack.pop(["i32"]);
    stack.open("if", params, results);
    return super.if(results, params);
  }

  override else(): void {
    this.#at("else").else();
    super.else();
  }

  override end(): void {
    const stack = this.#at("end");
    if (stack.blocks === 0) stack.fail("no block is open to end");
    stack.end();
    super.end();
  }

  override br(label: Label): void {
    const stack = this.#at("br");
    stack.pop(stack.label(label));
    stack.stop();
    super.br(label);
  }

  override brIf(label: Label): void {
    const stack = this.#at("br_if");
    stack.pop(["i32"]);
    stack.keep(stack.label(label));
    super.brIf(label);
  }

  override return(): void {
    const stack = this.#at("return");
    stack.pop(this.#type.results);
    stack.stop();
    super.return();
  }

  override unreachable(): void {
    this.#at("unreachable").stop();
    super.unreachable();
  }

  override call(index: number): void {
    const stack = this.#at("call");
    const type = this.#scope.functionType(index) ?? stack.fail(`there is no function ${index}`);
    stack.pop(type.params);
    stack.push(type.results);
    super.call(index);
  }

  override finish(out: ByteWriter): void {
    const stack = this.#at("end");
    if (stack.blocks > 0) stack.fail(`${stack.blocks} block(s) still open at the function's end`);
    stack.end();
    super.finish(out);
  }
}
