/** Every operation is written once, as a function; this table makes methods of them: `add(a, b)` is also `a.add(b)`. */
import * as arithmetic from "./arithmetic.ts";
import * as reduce from "./reduce.ts";
import * as shape from "./shape.ts";
import { Tensor } from "./tensor.ts";

const { where: _where, ...unconditional } = arithmetic;
const { concat: _concat, stack: _stack, slice: _slice, ...movement } = shape;
const methods = { ...unconditional, ...movement, ...reduce };

type Method<F> = F extends (x: never, ...rest: infer R extends readonly unknown[]) => infer Y
  ? (...rest: R) => Y
  : never;
type Methods = { readonly [K in keyof typeof methods]: Method<(typeof methods)[K]> };

declare module "./tensor.ts" {
  interface Tensor extends Methods {}
}

for (const [name, operation] of Object.entries(methods)) {
  const run = operation as (x: Tensor, ...rest: unknown[]) => unknown;
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: unknown[]) {
      return run(this, ...rest);
    },
    configurable: true,
    writable: true,
  });
}
