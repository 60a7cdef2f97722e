/** The rules of the IR's two levels, checked after every pass in tests: the ops of the level, types as the op table infers
 *  them, attributes of their kinds, one scope, parameters in order; and the structure of a kernel (`verify-kernel.ts`). */
import { SinanError, VerifyError } from "../errors.ts";
import { define, isOp } from "../ops/table.ts";
import { fnsIn } from "./attr.ts";
import { attrFault } from "./attr-kinds.ts";
import { type Fn, nodesOf } from "./fn.ts";
import type { Node, Op } from "./node.ts";
import { printNode } from "./print.ts";
import { typeEqual, typeText } from "./type.ts";
import { verifyKernel } from "./verify-kernel.ts";

export type Level = "tensor" | "kernel";

/** What is wrong, told of one node. */
export type Blame = (node: Node, fault: string) => never;

/** @throws VerifyError naming the node in its printed form */
export function verify(fn: Fn, level: Level, checked: Set<Fn> = new Set()): void {
  if (checked.has(fn)) return;
  checked.add(fn);
  const blame: Blame = (node, fault) => {
    throw new VerifyError(`${fn.name}: ${fault}\n  ${printNode(node, fn)}`);
  };
  const params = new Set<Node>(fn.params as readonly Node[]);
  fn.params.forEach((p, i) => {
    if (p.op !== "param") return blame(p, `parameter ${i} is not a param`);
    if (p.attr.index !== i) return blame(p, `parameter ${i} has the index ${p.attr.index}`);
  });
  const all = nodesOf(fn);
  for (const n of all) {
    if (!isOp(n.op)) blame(n, `${String(n.op)} is no op`);
    if (!allowed(n.op, level)) blame(n, `${n.op} is not an op of the ${level} level`);
    if (n.op === "param" && !params.has(n)) blame(n, "it is a parameter of another function");
    if (n.scope !== (all[0] as Node).scope) blame(n, "it lives in another scope than the nodes before it");
    const fault = attrFault(n.op, n.attr);
    if (fault !== undefined) blame(n, fault);
    checkType(n, blame);
    for (const f of fnsIn(n.attr)) verify(f, level, checked);
  }
  if (level === "kernel") verifyKernel(fn, all, blame);
}

const kernelLeaves: readonly Op[] = ["const", "param"];

function allowed(op: Op, level: Level): boolean {
  const { role } = define(op);
  if (level === "tensor") return role !== "kernel";
  return role === "kernel" || role === "elementwise" || kernelLeaves.includes(op);
}

function checkType(n: Node, blame: Blame): void {
  try {
    const type = n.scope.infer(n.op, n.src, n.attr);
    if (!typeEqual(type, n.type)) blame(n, `its type should be ${typeText(type)}`);
  } catch (cause) {
    if (cause instanceof VerifyError && cause.message.includes("\n  %")) throw cause;
    blame(n, cause instanceof SinanError || cause instanceof TypeError ? cause.message : String(cause));
  }
}
