/** Kernels that do less than their group says.
 *
 *    %y = scatter(%x, %i, %u)         copy %x to %y, where %y lies elsewhere;  %y[%i] = %u
 *    %z = dot(reshape(%x), %w)        %x is read as what it is reshaped to
 *
 *  A scatter's result takes the memory of x where nothing else needs it (`memory-plan.ts`): a token's keys and values are put into a cache
 *  that is not copied. Where something does, the copy is a command of its own, which is left out of a launch whose two places are one. */
import { copy } from "../ir/copy.ts";
import { dimsEqual } from "../ir/dim.ts";
import { type Fn, makeFn, topological, usersOf } from "../ir/fn.ts";
import { dimsOf, type Node, tensorTypeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { tensorType } from "../ir/type.ts";
import { addGroupRules } from "../kernel/group-rules.ts";
import { lower } from "../kernel/lower.ts";
import { kernelNode, replaceNests } from "../kernel/nests.ts";
import { build } from "../ops/build.ts";
import { newScope } from "../ops/table.ts";
import { storageOf } from "./groups.ts";

/** From here on there are such kernels. */
export const tightenGroups = (): void => addGroupRules({ isOver, lower: lowerTight });

/** Whether a scatter begins with the first parameter as it lies, which nothing else of the group reads. */
function isOver({ params: [first], results: [root] }: Fn): boolean {
  if (!first || (root?.op !== "scatter" && root?.op !== "scatterReduce")) return false;
  const [x, ...others] = root.src as [Node, ...Node[]];
  return storageOf(x) === first && !topological(others).includes(first);
}

function lowerTight(group: Fn): Fn {
  const kernel = lower(straight(group));
  if (!isOver(group)) return kernel;
  // The first nest of a scatter is the copy.
  let count = 0;
  return within(kernelNode(kernel).scope, () => replaceNests(kernel, (nest) => (count++ === 0 ? [] : [nest])));
}

/** The group with parameters that are only read reshaped, all in one way, given so: their indices are then those of loops, and not made
 *  of remainders and quotients. */
function straight(group: Fn): Fn {
  const order = topological(group.results);
  const users = usersOf(order);
  const results = new Set<Node>(group.results);
  /** What is read of a node, under reshapes. */
  const readOf = (n: Node): Node[] => {
    const by = users.get(n) ?? [];
    return by.length > 0 && !results.has(n) && by.every((u) => u.op === "reshape") ? by.flatMap(readOf) : [n];
  };
  // A number of the host's is told from memory by its dims.
  const read = group.params.map((p) => (tensorTypeOf(p).space === "host" ? [p] : readOf(p)));
  if (read.every(([first], i) => first === group.params[i])) return group;
  return within(newScope(), () => {
    const known = new Map<Node, Node>();
    const params = group.params.map((p, i) => {
      const [first, ...others] = read[i] as [Node, ...Node[]];
      const isOne = others.every((n) => dimsEqual(dimsOf(n), dimsOf(first)));
      const { dtype, space } = tensorTypeOf(p);
      const type = tensorType(dtype, dimsOf(isOne ? first : p), space);
      const param = build("param", [], { ...p.attr, type });
      for (const n of isOne ? [first, ...others] : [p]) known.set(n, param);
      return param;
    });
    return makeFn(group.name, params, copy(group.results, known));
  });
}
