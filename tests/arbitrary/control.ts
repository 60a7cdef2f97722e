/** Loops and choices for random graphs, of bodies small enough to read in a failure. */
import { cond as condOp } from "../../core/src/control/cond.ts";
import { control } from "../../core/src/control/ops.ts";
import { scan as scanOp } from "../../core/src/control/scan.ts";
import { whileOp } from "../../core/src/control/while.ts";
import { type Fn, makeFn } from "../../core/src/ir/fn.ts";
import { dimsOf, dtypeOf, type Node } from "../../core/src/ir/node.ts";
import { tensorType } from "../../core/src/ir/type.ts";
import * as b from "../../core/src/ops/build.ts";
import { load } from "../../core/src/ops/table.ts";
import { type Draw, pick } from "./pool.ts";

load(control);

/** A function of values like these. */
function body(name: string, likes: readonly Node[], results: (...p: Node[]) => readonly Node[]): Fn {
  const params = likes.map((like, index) =>
    b.build("param", [], { index, name: "", type: tensorType(dtypeOf(like), dimsOf(like)) }),
  );
  return makeFn(name, params, results(...params));
}

/** x handed through its own rows, times a few, with what each step took from it: one of the two. */
export function scan(x: Node, draw: Draw): Node {
  const length = draw(4);
  const dims = dimsOf(x);
  const rows = b.expand(b.reshape(x, [1, ...dims]), [length, ...dims]);
  const join = pick(draw, [b.add, b.max, b.sub]);
  const fn = body("step", [x, x, x], (w, c, row) => [join(c, row), b.mul(c, w)]);
  const attr = { fn, consts: 1, carry: 1, length, reverse: draw(2) === 1 };
  return b.item(scanOp([x, x, rows], attr), draw(2));
}

/** One thing where any element is negative, another one elsewhere. */
export function cond(x: Node, draw: Draw): Node {
  const axes = dimsOf(x).map((_, a) => a);
  const negative = b.reduce("max", b.lt(x, b.zerosLike(x)), axes);
  const yes = body("yes", [x], (v) => [b.neg(v)]);
  const no = body("no", [x], (v) => [draw(2) ? b.add(v, v) : v]);
  return b.item(condOp(negative, [x], { yes, no }), 0);
}

/** x added to itself, or made less, as often as a number on the device says. */
export function whileLoop(x: Node, draw: Draw): Node {
  const count = b.scalar(draw(4), "i32");
  const start = b.scalar(0, "i32");
  const likes = [count, start, x];
  const test = body("test", likes, (n, i) => [b.lt(i, n)]);
  const change = pick(draw, [(v: Node) => b.add(v, v), (v: Node) => b.min(v, b.neg(v))]);
  const next = body("next", likes, (_, i, v) => [b.add(i, b.constantLike(i, 1)), change(v)]);
  return b.item(whileOp(likes, { test, body: next, consts: 1 }), 1);
}
