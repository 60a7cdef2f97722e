/** Columns of blocks of memory as text: the rows of a block are loaded and turned where a column is first known. */
import { dtypeOf, type Node } from "../../ir/node.ts";
import type { Ahead } from "./ahead.ts";
import { addLine, type Block } from "./text.ts";
import { type Column, columnsIn, placeOf, turned } from "./turned.ts";
import type { Nest } from "./writing.ts";
import type { RangeNode } from "../nests.ts";

interface Tools extends Nest {
  readonly lane: RangeNode;
  readonly ahead: Ahead;
}

export class Columns {
  readonly #nest: Tools;
  /** Loads that are columns of blocks. */
  readonly #columns = new Map<Node, Column>();
  /** The names of the columns of each block where they are known. */
  readonly #turned = new Map<Block, Map<Node, readonly string[]>>();

  constructor(nest: Tools) {
    this.#nest = nest;
  }

  /** Looks for columns among the loads below some nodes. */
  find(roots: readonly Node[]): void {
    const { lane, lanes, stored } = this.#nest;
    for (const [load, column] of columnsIn(roots, lane))
      if (!stored.has(placeOf(load).first?.src[0] as Node) && lanes.isWhole(dtypeOf(load)))
        this.#columns.set(load, column);
  }

  has(load: Node): boolean {
    return this.#columns.has(load);
  }

  /** The name of a load that is one. */
  of(load: Node, at: Block): string | undefined {
    const column = this.#columns.get(load);
    return column && this.#name(column, at);
  }

  /** A column of a block, which is turned where it is first known. */
  #name({ first, place, count }: Column, at: Block): string {
    const home = this.#nest.reach.home(first, at);
    const known = this.#turned.get(home) ?? new Map<Node, readonly string[]>();
    this.#turned.set(home, known);
    let names = known.get(first);
    if (!names) known.set(first, (names = this.#turn(first, count, home)));
    return names[place] as string;
  }

  #turn(first: Node, count: number, home: Block): string[] {
    const { first: load = first, size } = placeOf(first);
    const [buffer, index] = load.src as [Node, Node];
    const dtype = dtypeOf(first);
    const type = this.#nest.lanes.type(this.#nest.lanes.elementOf(dtype));
    const level = this.#nest.reach.levelOf(first);
    const named = (text: string): string => {
      const name = this.#nest.newName("v");
      addLine(home, level, this.#nest.writing.language.constant(type, name, text));
      return name;
    };
    // All lanes go on by one block of each row.
    const { ahead } = this.#nest;
    const ask = ahead.stream(load, home, size * this.#nest.lanes.width) ?? ahead.tiles(load, home);
    const rows = this.#nest.reach.lanesOf(index).map((row) => {
      const [base, offset] = this.#nest.place(buffer, row, home);
      ask?.(`${base} + ${offset}`);
      return named(this.#nest.lanes.loadFirst(`${base} + ${offset}`, dtype, count));
    });
    return turned(rows, (a, b, distance, upper) => named(this.#nest.lanes.exchange(dtype, a, b, distance, upper)));
  }
}
