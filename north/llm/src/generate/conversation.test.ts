/** Conversations: each turn gives what its whole text gives in a fresh session, and computes only what is new. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ArgumentError, device, DisposedError, key, memory } from "sinan";
import { llamaConfig } from "../config.ts";
import { type Llama, llama } from "../model/llama.ts";
import { linesWithEndings, trainBpe } from "../tokenizer/index.ts";
import { Conversation } from "./conversation.ts";
import type { Piece } from "./decode.ts";
import { generate } from "./generate.ts";
import { ContextError } from "./options.ts";
import { Session } from "./session.ts";
import { tinyShape } from "../tiny.fixture.ts";

const tokenizer = trainBpe(linesWithEndings("Who are you? I am Ishmael.\n".repeat(8)), { vocabSize: 270 });
const config = llamaConfig("llama-tiny", {
  vocabSize: tokenizer.vocabSize,
  ...tinyShape,
  initializerRange: 0.6,
  maxPositionEmbeddings: 128,
});
const model = (): Llama => llama(config).init(key(5));
const options = { temperature: 1, repetitionPenalty: 1.2, seed: 2, maxTokens: 6, stopIds: [] };

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
const ids = (pieces: readonly Piece[]): number[] => pieces.flatMap(({ id }) => (id === null ? [] : [id]));

test("turn by turn the replies are those to the whole text", async () => {
  await device("cpu");
  const m = model();
  const talk = new Conversation(m, tokenizer);
  let whole: number[] = [];
  for (const line of ["Who are you?", " And you?", " No."]) {
    whole = [...whole, ...tokenizer.encode(line)];
    const reply = ids(await all(talk.say(line, options)));
    assert.deepEqual(reply, await all(generate(m, whole, options)));
    whole.push(...reply);
    assert.deepEqual(talk.ids, whole);
  }
  // Another text goes on from where it parts from this one, which the cache is used for.
  const other = [...whole.slice(0, 9), 1, 2, 3];
  assert.deepEqual(ids(await all(talk.continue(other, options))), await all(generate(m, other, options)));
  assert.deepEqual(ids(await all(talk.continue(other, options))), await all(generate(m, other, options)));
  talk.dispose();
});

test("a reply that is aborted or left ends there, and the conversation goes on", async () => {
  await device("cpu");
  const m = model();
  const talk = new Conversation(m, tokenizer);
  const stop = new AbortController();
  const pieces: Piece[] = [];
  for await (const piece of talk.say("Who", { ...options, signal: stop.signal })) {
    pieces.push(piece);
    if (pieces.length === 2) stop.abort();
  }
  assert.equal(pieces.at(-1)?.finish, "aborted");
  assert.deepEqual(talk.ids, [...tokenizer.encode("Who"), ...ids(pieces)]);
  const [first] = pieces;
  for await (const piece of talk.say(" are", options)) {
    assert.ok(first);
    assert.throws(() => talk.say("?"), /a reply is still coming/);
    assert.equal(piece.finish, null);
    break;
  }
  const before = [...talk.ids];
  const during = new AbortController();
  const reply = talk.say(" you", { ...options, signal: during.signal });
  const last = reply.next();
  during.abort();
  assert.equal((await last).value?.finish, "aborted");
  await reply.next();
  const whole = [...before, ...tokenizer.encode(" you")];
  assert.deepEqual(talk.ids, whole);
  assert.deepEqual(ids(await all(talk.continue(whole, options))), await all(generate(m, whole, options)));
  talk.dispose();
});

test("what does not fit is refused, or the older half is forgotten", async () => {
  await device("cpu");
  const m = model();
  const talk = new Conversation(m, tokenizer, { capacity: 64 });
  assert.equal(talk.room, 64);
  const full = await all(talk.say("Who are you?", { stopIds: [] }));
  assert.deepEqual([full.at(-1)?.finish, talk.room], ["length", 0]);
  assert.throws(() => talk.say("?", options), ContextError);
  talk.dispose();
  const sliding = new Conversation(m, tokenizer, { capacity: 64, overflow: "slide" });
  for (let turn = 0; turn < 30; turn++) {
    assert.equal((await all(sliding.say("Who are you? ", options))).length, 6);
    assert.ok(sliding.ids.length <= 65);
  }
  sliding.dispose();
});

test("dispose frees the cache, and what comes after is refused", async () => {
  await device("cpu");
  const m = model();
  await all(generate(m, [1, 2], options));
  const before = memory().live;
  const talk = new Conversation(m, tokenizer);
  await all(talk.say("Who", options));
  talk[Symbol.dispose]();
  talk.dispose();
  assert.ok(memory().live <= before);
  assert.throws(() => talk.say("Who"), DisposedError);
  assert.throws(() => new Conversation(m, tokenizer, { capacity: 1e9 }), ArgumentError);
});

test("a session goes back to where it was", async () => {
  await device("cpu");
  const session = new Session(model(), { rows: 2 });
  const sampling = { repetitionPenalty: 1.5 };
  const first = await session.step([[1, 2, 3], [4]], sampling);
  await session.step([[9, 9], []], sampling);
  session.rewind(2);
  session.rewind(0, 1);
  assert.deepEqual(session.tokens(0), [1, 2]);
  assert.deepEqual(await session.step([[3], [4]], sampling), first);
  assert.throws(() => session.rewind(9), /0 to 3/);
  assert.throws(() => session.tokens(2), /below 2/);
  await assert.rejects(session.next([1]), /2 rows/);
  await assert.rejects(session.step([[], []]), /at least one row/);
  await assert.rejects(session.step([[1]]), /each of 2 rows/);
  session.dispose();
});
