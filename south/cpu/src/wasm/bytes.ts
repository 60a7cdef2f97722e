/** A growable run of bytes with the encodings WebAssembly uses: LEB128 integers, little-endian floats, length-prefixed
 *  names. A class, because every instruction passes through it and its buffer is private. */

const encoder = new TextEncoder();

/** Room that any single write below may need; longer ones reserve their own. */
const SLACK = 16;

export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(Math.max(capacity, SLACK));
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  #reserve(extra: number): void {
    const needed = this.#length + extra;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  bytes(values: ArrayLike<number>): void {
    this.#reserve(values.length);
    this.#bytes.set(values, this.#length);
    this.#length += values.length;
  }

  /** Unsigned LEB128 of an integer in [0, 2^32). */
  u32(value: number): void {
    this.#reserve(SLACK);
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
  }

  /** Signed LEB128 of the low 32 bits, so that 0xffffffff and -1 are one constant. */
  s32(value: number): void {
    this.#reserve(SLACK);
    let rest = value | 0;
    while (rest < -0x40 || rest > 0x3f) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>= 7;
    }
    this.#bytes[this.#length++] = rest & 0x7f;
  }

  /** Signed LEB128 of the low 64 bits. */
  s64(value: bigint): void {
    this.#reserve(SLACK);
    let rest = BigInt.asIntN(64, value);
    while (rest < -0x40n || rest > 0x3fn) {
      this.#bytes[this.#length++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#length++] = Number(rest & 0x7fn);
  }

  /** Four bytes of raw bits: the way to keep a NaN's payload, which a JavaScript number loses. */
  bits32(bits: number): void {
    this.#reserve(4);
    this.#view.setUint32(this.#length, bits, true);
    this.#length += 4;
  }

  bits64(bits: bigint): void {
    this.#reserve(8);
    this.#view.setBigUint64(this.#length, bits, true);
    this.#length += 8;
  }

  f32(value: number): void {
    this.#reserve(4);
    this.#view.setFloat32(this.#length, value, true);
    this.#length += 4;
  }

  f64(value: number): void {
    this.#reserve(8);
    this.#view.setFloat64(this.#length, value, true);
    this.#length += 8;
  }

  /** A UTF-8 name behind its length. */
  name(text: string): void {
    const encoded = encoder.encode(text);
    this.u32(encoded.length);
    this.bytes(encoded);
  }

  /** Another writer's bytes behind their length. */
  sized(content: ByteWriter): void {
    this.u32(content.length);
    this.bytes(content.written());
  }

  /** The bytes so far, not copied: valid until the next write. */
  written(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }
}
