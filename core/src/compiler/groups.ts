/** The function of one fusion group: its inputs as parameters, its stored value as the result. An epilogue is brought to the
 *  dims of its anchor, so that a bias added after a reshape does not split the anchor's loops. */
import { type Dim, dimText, known, sizeOf } from "../ir/dim.ts";
import { copy } from "../ir/copy.ts";
import { type Fn, makeFn, topological } from "../ir/fn.ts";
import { dimsOf, type Node, type NodeOf } from "../ir/node.ts";
import { currentScope, remake, type Scope, within } from "../ir/scope.ts";
import { isTuple, tensorType, type TensorType } from "../ir/type.ts";
import { reshape } from "../ops/build.ts";
import { rowFusion } from "../kernel/row-fusion.ts";
import { define, newScope } from "../ops/table.ts";

export interface Group {
  /** The stored values, never reshapes. Several of an element-wise group (see `join.ts`), all of one size, or of rows. */
  readonly roots: readonly Node[];
  readonly anchor: Node | undefined;
  /** Where it is computed row by row (see `join-rows.ts`): how many rows. */
  readonly rows?: number | undefined;
}

export interface GroupFn {
  readonly fn: Fn;
  readonly anchor: Node | undefined;
  /** Stored nodes (or host scalars) that the parameters stand for, in order. */
  readonly inputs: readonly Node[];
  /** Inputs that may share memory with a result: read only at the place that is written. */
  readonly inPlace: readonly Node[];
}

/** Elements of a value of the function, whose symbols have their numbers. */
export const elementCount = (n: Node): number => known(sizeOf(dimsOf(n)), "a kernel");

/** A reshape is the same bytes: the node that holds them. */
export function storageOf(node: Node): Node {
  let n = node;
  while (n.op === "reshape") n = n.src[0] as Node;
  return n;
}

/** What the roots read: stored nodes and parameters, in order. A root that another one reads is not among them. */
export function inputsOf(roots: readonly Node[], stored: ReadonlySet<Node>): Node[] {
  const own = new Set(roots);
  const isInput = (n: Node) => n.op === "param" || (stored.has(n) && !own.has(n));
  return topological(roots, (n) => !isInput(n)).filter(isInput);
}

export function groupFn({ roots, anchor, rows }: Group, stored: ReadonlySet<Node>): GroupFn {
  const scope = newScope();
  return within(scope, () => {
    const inputs = inputsOf(roots, stored);
    const known = new Map<Node, Node>(inputs.map((n, index) => [n, parameter(scope, n, index)]));
    const [root] = roots as [Node];
    const results =
      rows !== undefined || (anchor && isTuple(anchor.type))
        ? copy(roots, known)
        : anchor && anchor !== root
          ? [epilogueOf(root, anchor, known)]
          : alike(copy(roots, known));
    const params = inputs.map((n) => known.get(n) as NodeOf<"param">);
    const all = new Set(inputs);
    const fn = makeFn(nameOf(roots, rows === undefined ? anchor : undefined, all), params, results);
    if (rows !== undefined)
      return {
        fn,
        anchor,
        inputs,
        inPlace:
          rowFusion()
            ?.overwritten(fn)
            .flatMap((i) => inputs[i] ?? []) ?? [],
      };
    return { fn, anchor, inputs, inPlace: anchor ? [] : readInPlace(roots, all) };
  });
}

/** What people read in a profile: `dot_2048x688x256` with the contracted size last, `add_mul_exp_8x256`. */
function nameOf(roots: readonly Node[], anchor: Node | undefined, inputs: ReadonlySet<Node>): string {
  const [root] = roots as [Node];
  if (!anchor) {
    const work = topological(roots, (n) => !inputs.has(n)).filter(
      (n) => !inputs.has(n) && define(n.op).role === "elementwise" && n.op !== "cast",
    );
    const ops = new Set<string>(work.reverse().map((n) => n.op));
    return [...[...ops].slice(0, 3), dimsOf(root).map(dimText).join("x") || "scalar"].join("_");
  }
  const source = dimsOf(anchor.src[0] as Node);
  if (anchor.op === "dot")
    return `dot_${[...dimsOf(anchor), source[anchor.attr.contract[0][0] as number] as Dim].map(dimText).join("x")}`;
  return `${anchor.op}_${source.map(dimText).join("x")}`;
}

function parameter(scope: Scope, node: Node, index: number): Node {
  const { dtype, dims, space } = node.type as TensorType;
  return scope.make("param", [], { index, name: "", type: tensorType(dtype, dims, space) }) as Node;
}

/** The root rebuilt in the anchor's dims: reshapes on the way are dropped, other operands are reshaped to meet it. */
function epilogueOf(root: Node, anchor: Node, known: Map<Node, Node>): Node {
  const dims = dimsOf(anchor);
  const through = new Map<Node, Node>([[anchor, copy([anchor], known)[0] as Node]]);
  for (const n of topological([root], (m) => m !== anchor && !known.has(m))) {
    if (n === anchor || !n.src.some((s) => through.has(s))) continue;
    const meet = (x: Node) => (n.op === "put" ? x : reshape(x, dims));
    const src = n.src.map((s) => through.get(s) ?? meet(copy([s], known)[0] as Node));
    through.set(n, n.op === "reshape" ? (src[0] as Node) : remake(currentScope(), n, src));
  }
  return through.get(root) as Node;
}

/** All results in the dims of the first: they then share one loop nest, in which every read precedes every write of a position. */
const alike = (results: readonly Node[]): Node[] => results.map((r) => reshape(r, dimsOf(results[0] as Node)));

/** Inputs whose every use on the way to the roots keeps its position. */
export function readInPlace(roots: readonly Node[], inputs: ReadonlySet<Node>): Node[] {
  const moved = new Set<Node>();
  const straight = new Set<Node>(roots);
  const order = topological(roots, (n) => !inputs.has(n));
  for (let i = order.length - 1; i >= 0; i--) {
    const n = order[i] as Node;
    if (inputs.has(n)) continue;
    const keeps = straight.has(n) && !moved.has(n) && keepsPosition(n);
    for (const s of n.src) (keeps && elementCount(s) === elementCount(n) ? straight : moved).add(s);
  }
  return [...inputs].filter((n) => straight.has(n) && !moved.has(n));
}

const keepsPosition = (n: Node): boolean =>
  define(n.op).role === "elementwise" || n.op === "reshape" || n.op === "assign";
