/** Documents of different lengths in rows of one length, several to a row, so that little of a batch is padding. Which document
 *  goes where follows from the lengths alone, and which rows a step takes from the seed and the step: nothing is remembered. */
import { ArgumentError } from "../errors.ts";
import { type Batch, type BatchOptions, checkCounts, checkSeed, checkStep, ignoreIndex, shuffled } from "./tokens.ts";

/** A run of a document's predictions in a row: the inputs are its tokens `from` to `from + length` − 1, each target the token
 *  after its input. */
export interface Piece {
  readonly document: number;
  readonly from: number;
  readonly length: number;
}

/** Rows of pieces. */
export interface Packing {
  readonly rows: number;
  /** Inputs of all pieces, which is how many predictions an epoch has. */
  readonly tokens: number;
  /** The share of the rows' places that is taken, 0 to 1. */
  readonly filled: number;
  /** The pieces of a row, in order. */
  row(index: number): Piece[];
}

/** Packs documents into rows by best fit: the longest piece first, each into the fullest row that still has room for it. A
 *  document of n tokens has n − 1 predictions; one of more than `sequence` is cut into pieces of that, each prediction in one.
 *  Takes a time that grows as pieces · log(sequence), and 16 bytes a piece.
 *
 *  @param lengths   tokens of each document; those of fewer than 2 predict nothing and are left out
 *  @param sequence  places in a row
 *  @throws ArgumentError for absurd sizes, or if nothing is left to learn from
 *  @see Ding et al. 2024, arXiv:2404.10830, algorithm 1 (best-fit packing)
 *  @example const packing = data.packDocuments([5, 300, 41], 256); */
export function packDocuments(lengths: ArrayLike<number>, sequence: number): Packing {
  checkCounts("packDocuments", { sequence });
  const { document, from, size, tokens } = cutDocuments(lengths, sequence);
  const count = document.length;
  if (count === 0)
    throw new ArgumentError(
      `packDocuments: none of ${lengths.length} documents has 2 tokens, so there is nothing to predict`,
      {
        hint: "is the field of the documents the right one?",
      },
    );
  // Rows by the room that is left, each a stack; `next` links the rows of a stack.
  const top = new Int32Array(sequence + 1).fill(-1);
  const next = new Int32Array(count);
  const rooms = roomTree(sequence);
  const rowOf = new Int32Array(count);
  let rows = 0;
  for (const piece of longestFirst(size, sequence)) {
    const needed = size[piece] as number;
    let room = rooms.atLeast(needed);
    let row: number;
    if (room < 0) {
      row = rows++;
      room = sequence;
    } else {
      row = top[room] as number;
      top[room] = next[row] as number;
      if (top[room] === -1) rooms.remove(room);
    }
    rowOf[piece] = row;
    const left = room - needed;
    if (left === 0) continue;
    if (top[left] === -1) rooms.add(left);
    next[row] = top[left] as number;
    top[left] = row;
  }
  const { starts, members } = byRow(rowOf, rows);
  const row = (index: number): Piece[] => {
    if (!Number.isSafeInteger(index) || index < 0 || index >= rows)
      throw new ArgumentError(`packDocuments: expected a row in 0..${rows - 1}, got ${index}`);
    return Array.from(members.subarray(starts[index], starts[index + 1]), (piece) => ({
      document: document[piece] as number,
      from: from[piece] as number,
      length: size[piece] as number,
    }));
  };
  return { rows, tokens, filled: tokens / (rows * sequence), row };
}

/** A batch of packed rows. */
export interface PackedBatch extends Batch {
  /** [batch, sequence] i32: 1, 2, … for the documents of a row, 0 on padding. Attention stays inside of one number. */
  readonly segments: Int32Array;
  /** [batch, sequence] i32: the place in its piece, from 0; 0 on padding. */
  readonly positions: Int32Array;
  /** [batch, sequence] f32: 1 where there is a target, 0 on padding, whose target is `ignoreIndex`. */
  readonly weights: Float32Array;
}

/** Which rows of a packing each step takes. */
export interface PackedOrder {
  readonly stepsPerEpoch: number;
  /** The pieces of each row of the step's batch. */
  readonly rows: (step: number) => Piece[][];
}

/** The order of packed rows: an epoch takes each once, in an order that follows from seed and epoch alone.
 *  @throws ArgumentError */
export function packedOrder(
  packing: Packing,
  { batch, seed }: { readonly batch: number; readonly seed: number },
): PackedOrder {
  checkCounts("packedBatches", { batch });
  checkSeed("packedBatches", seed);
  const rows = (step: number): Piece[][] => {
    checkStep("packedBatches", step);
    return Array.from({ length: batch }, (_, i) => packing.row(shuffled(packing.rows, seed, step * batch + i).place));
  };
  return { rows, stepsPerEpoch: Math.ceil(packing.rows / batch) };
}

/** Fills a batch with the tokens of its rows' pieces.
 *
 *  @param tokensOf  `length` + 1 tokens of a piece: its inputs and the target of the last */
export function fillPacked(
  rows: readonly (readonly Piece[])[],
  sequence: number,
  tokensOf: (piece: Piece) => ArrayLike<number>,
): PackedBatch {
  const places = rows.length * sequence;
  const inputs = new Int32Array(places);
  const targets = new Int32Array(places).fill(ignoreIndex);
  const segments = new Int32Array(places);
  const positions = new Int32Array(places);
  const weights = new Float32Array(places);
  rows.forEach((pieces, row) => {
    let at = row * sequence;
    pieces.forEach((piece, i) => {
      const ids = tokensOf(piece);
      for (let t = 0; t < piece.length; t++, at++) {
        inputs[at] = ids[t] as number;
        targets[at] = ids[t + 1] as number;
        segments[at] = i + 1;
        positions[at] = t;
        weights[at] = 1;
      }
    });
  });
  return { inputs, targets, segments, positions, weights };
}

/** Packed documents as batches, each a function of its number. */
export interface PackedBatches {
  /** The batch of a step, counted from 0. */
  readonly at: (step: number) => PackedBatch;
  readonly packing: Packing;
  readonly stepsPerEpoch: number;
}

/** Training batches of whole documents, packed. Loss and gradient are those of the same documents one in a row, padded.
 *
 *  @param documents  ids of each document
 *  @throws ArgumentError
 *  @example const { at } = data.packedBatches(documents, { batch: 8, sequence: 256, seed: 0 }); const { inputs, segments } = at(step); */
export function packedBatches(
  documents: readonly ArrayLike<number>[],
  { batch, sequence, seed }: BatchOptions & { readonly seed: number },
): PackedBatches {
  const packing = packDocuments(
    documents.map(({ length }) => length),
    sequence,
  );
  const { rows, stepsPerEpoch } = packedOrder(packing, { batch, seed });
  const tokensOf = ({ document, from, length }: Piece): number[] =>
    Array.from({ length: length + 1 }, (_, t) => documents[document]?.[from + t] ?? 0);
  return { at: (step) => fillPacked(rows(step), sequence, tokensOf), packing, stepsPerEpoch };
}

interface Pieces {
  readonly document: Uint32Array;
  readonly from: Uint32Array;
  readonly size: Uint32Array;
  readonly tokens: number;
}

function cutDocuments(lengths: ArrayLike<number>, sequence: number): Pieces {
  let count = 0;
  for (let d = 0; d < lengths.length; d++) count += Math.ceil(Math.max(0, (lengths[d] as number) - 1) / sequence);
  const [document, from, size] = [new Uint32Array(count), new Uint32Array(count), new Uint32Array(count)];
  let piece = 0;
  let tokens = 0;
  for (let d = 0; d < lengths.length; d++) {
    const predictions = Math.max(0, (lengths[d] as number) - 1);
    tokens += predictions;
    for (let at = 0; at < predictions; at += sequence, piece++) {
      document[piece] = d;
      from[piece] = at;
      size[piece] = Math.min(sequence, predictions - at);
    }
  }
  return { document, from, size, tokens };
}

/** Pieces by size, the largest first and equal ones in their order: a counting sort. */
function longestFirst(size: Uint32Array, sequence: number): Uint32Array {
  const place = new Uint32Array(sequence + 2);
  for (const n of size) place[sequence - n + 1] = (place[sequence - n + 1] as number) + 1;
  for (let i = 1; i < place.length; i++) place[i] = (place[i] as number) + (place[i - 1] as number);
  const sorted = new Uint32Array(size.length);
  size.forEach((n, piece) => {
    const at = place[sequence - n] as number;
    place[sequence - n] = at + 1;
    sorted[at] = piece;
  });
  return sorted;
}

/** The rooms that some row has, as a tree over 0..sequence whose nodes count those below. */
function roomTree(sequence: number): {
  add(room: number): void;
  remove(room: number): void;
  atLeast(room: number): number;
} {
  let leaves = 1;
  while (leaves < sequence + 1) leaves *= 2;
  const count = new Uint32Array(2 * leaves);
  const change = (room: number, by: number): void => {
    for (let node = leaves + room; node > 0; node >>>= 1) count[node] = (count[node] as number) + by;
  };
  return {
    add: (room) => change(room, 1),
    remove: (room) => change(room, -1),
    /** The smallest such room of at least this, or −1. */
    atLeast(room) {
      let node = leaves + room;
      if ((count[node] as number) > 0) return room;
      // Up to the first ancestor with something to the right, then down to its leftmost.
      while (node > 1 && ((node & 1) === 1 || count[node + 1] === 0)) node >>>= 1;
      if (node <= 1) return -1;
      node++;
      while (node < leaves) node = (count[2 * node] as number) > 0 ? 2 * node : 2 * node + 1;
      return node - leaves;
    },
  };
}

/** Pieces by row, in their order in the text. */
function byRow(rowOf: Int32Array, rows: number): { starts: Uint32Array; members: Uint32Array } {
  const starts = new Uint32Array(rows + 1);
  for (const row of rowOf) starts[row + 1] = (starts[row + 1] as number) + 1;
  for (let i = 1; i <= rows; i++) starts[i] = (starts[i] as number) + (starts[i - 1] as number);
  const at = starts.slice();
  const members = new Uint32Array(rowOf.length);
  rowOf.forEach((row, piece) => {
    const place = at[row] as number;
    at[row] = place + 1;
    members[place] = piece;
  });
  return { starts, members };
}
