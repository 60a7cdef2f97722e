/** On what the values of a nest depend: ranges, the lanes of a vector, accumulates before them; and so where each is made, and what it is
 *  where ranges have values. */
import { codeOf as codeIn } from "./codes.ts";
import { type Block, type Point, points } from "./text.ts";
import { topological } from "../../ir/fn.ts";
import type { Node } from "../../ir/node.ts";
import { affine, constIndex, subIndex } from "../../ops/indexing.ts";
import { loadsIn, type RangeNode } from "../nests.ts";
import { substitutions } from "../substitute.ts";

export class Reach {
  readonly #lane: RangeNode | undefined;
  /** Whether the language looks values up by codes of four bits. */
  readonly #hasCodes: boolean;
  readonly #free = new Map<Node, ReadonlySet<Node>>();
  readonly #levels = new Map<Node, number>();
  readonly #codes = new Map<Node, Node | undefined>();
  readonly #late = new Set<Node>();

  constructor(lane: RangeNode | undefined, hasCodes: boolean) {
    this.#lane = lane;
    this.#hasCodes = hasCodes;
  }

  /** The ranges on which a node depends; those of an accumulate end there. */
  freeOf(root: Node): ReadonlySet<Node> {
    const known = this.#free.get(root);
    if (known) return known;
    for (const n of topological([root], (m) => !this.#free.has(m))) {
      if (this.#free.has(n)) continue;
      const all = new Set(n.op === "range" ? [n] : n.src.flatMap((s) => [...(this.#free.get(s) ?? [])]));
      if (n.op === "accumulate") for (const r of n.src.slice(1)) all.delete(r);
      this.#free.set(n, all);
    }
    return this.#free.get(root) ?? new Set();
  }

  varies(n: Node): boolean {
    return this.#lane !== undefined && this.freeOf(n).has(this.#lane);
  }

  /** The code of whose sixteen values a node's is one. */
  codeOf(n: Node): Node | undefined {
    if (!this.#hasCodes || n.op === "and" || !this.varies(n)) return undefined;
    if (!this.#codes.has(n))
      this.#codes.set(
        n,
        codeIn(n, (s) => this.varies(s)),
      );
    return this.#codes.get(n);
  }

  /** How many accumulates lie below each other in a node. */
  levelOf(root: Node): number {
    const known = this.#levels.get(root);
    if (known !== undefined) return known;
    for (const n of topological([root], (m) => !this.#levels.has(m))) {
      if (this.#levels.has(n)) continue;
      const below = n.src.reduce((most, s) => Math.max(most, this.#levels.get(s) ?? 0), 0);
      this.#levels.set(n, below + (n.op === "accumulate" || this.#late.has(n) ? 1 : 0));
    }
    return this.#levels.get(root) ?? 0;
  }

  /** From here on a value is made behind the sums beside it, where it is not known further outside. */
  delay(n: Node): void {
    this.#late.add(n);
  }

  /** An index in the first lane, where lanes lie side by side or in one place. */
  firstLane(index: Node): Node {
    return this.#lane && this.varies(index) ? subIndex(index, this.#lane) : index;
  }

  /** How far apart lanes lie in memory: 1 where they are side by side. */
  stepOf(index: Node): number | undefined {
    const { terms } = affine(index);
    const isPlain = [...terms.keys()].every((atom) => atom === this.#lane || !this.varies(atom));
    return this.#lane && isPlain ? terms.get(this.#lane) : undefined;
  }

  /** Whether a short float is made of bytes that lie apart from those of other lanes: each lane's are read together. */
  isPieced(n: Node): boolean {
    if (n.op !== "bitcast" || !this.varies(n)) return false;
    const loads = loadsIn([n]);
    return loads.length > 1 && loads.every((load) => load.src.length === 2 && this.stepOf(load.src[1] as Node) !== 1);
  }

  /** The nodes where ranges have the values of each of these points, all of the same ranges. */
  instances(roots: readonly Node[], all: readonly Point[]): Node[][] {
    const ranges = [...(all[0]?.keys() ?? [])];
    if (ranges.length === 0) return all.map(() => [...roots]);
    const stays = new Set<Node>();
    const at = substitutions(roots, (n) => {
      const free = this.freeOf(n);
      const varies = ranges.some((r) => free.has(r));
      if (!varies) stays.add(n);
      return varies;
    });
    return all.map((point) =>
      at({
        range: (r) => {
          const value = point.get(r);
          return value === undefined ? undefined : constIndex(value);
        },
        node: (n) => (stays.has(n) ? n : undefined),
      }),
    );
  }

  instancesOf(n: Node, all: readonly Point[]): Node[] {
    return this.instances([n], all).map(([one]) => one as Node);
  }

  /** The node in each lane. */
  lanesOf(n: Node): Node[] {
    return this.instancesOf(n, points(this.#lane ? [this.#lane] : []));
  }

  /** The outermost block, at or around `at`, where a node is known. */
  home(node: Node, at: Block): Block {
    const needed = this.freeOf(node);
    let block = at;
    while (block.parent && !(block.range && needed.has(block.range))) block = block.parent;
    return block;
  }
}

/** The blocks around one and itself, the outermost first. */
export function pathTo(block: Block): Block[] {
  const path: Block[] = [];
  for (let at: Block | undefined = block; at; at = at.parent) path.unshift(at);
  return path;
}
