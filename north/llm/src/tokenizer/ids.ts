/** A list of ids that grows. */
export class Ids {
  #values: Int32Array<ArrayBuffer>;
  #length = 0;

  constructor(expected: number) {
    this.#values = new Int32Array(Math.max(16, expected));
  }

  /** Appends `from[at..at + count)`. */
  append(from: Int32Array, at: number, count: number): void {
    if (this.#length + count > this.#values.length) this.#grow(count);
    const values = this.#values;
    let length = this.#length;
    for (let i = at; i < at + count; i++) values[length++] = from[i] ?? 0;
    this.#length = length;
  }

  appendAll(ids: readonly number[]): void {
    this.append(Int32Array.from(ids), 0, ids.length);
  }

  #grow(count: number): void {
    const grown = new Int32Array(Math.max(this.#values.length * 2, this.#length + count));
    grown.set(this.#values);
    this.#values = grown;
  }

  /** The ids, in an array of their own. */
  done(): Int32Array<ArrayBuffer> {
    return this.#values.slice(0, this.#length);
  }
}
