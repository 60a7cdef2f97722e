import assert from "node:assert/strict";
import test from "node:test";
import { grouped, jsonLine, type Out, progress } from "./progress.ts";
import type { TrainEvent } from "./events.ts";

const escape = String.fromCharCode(27);

function screen(options: Partial<Out> = {}): Out & { text: string } {
  return {
    text: "",
    ...options,
    write(piece: string) {
      this.text += piece;
    },
  };
}

const step = (n: number, tokensPerSecond = 1000): TrainEvent => ({
  event: "step",
  step: n,
  loss: 6 - n / 100,
  norm: 1,
  rate: 1e-3,
  tokensPerSecond,
  seconds: 0.1,
  peakBytes: 0,
});

test("away from a terminal: a plain line every few seconds, evaluations, and the last step", () => {
  let time = 0;
  const out = screen();
  const show = progress(out, { steps: 300, everyMs: 5000, now: () => time });
  for (let n = 1; n <= 300; n++) {
    time += 100;
    show(step(n));
    if (n === 100) show({ event: "eval", step: n, loss: 4.5, bitsPerByte: 2.25 });
  }
  show.end();
  const lines = out.text.trimEnd().split("\n");
  assert.deepEqual(lines.slice(0, 2), [
    "step   1/300  loss 5.990  1,000 tokens/s  ETA -:--",
    "step  51/300  loss 5.490  1,000 tokens/s  ETA 0:25",
  ]);
  assert.ok(lines.includes("step 100/300  held-out loss 4.500, 2.250 bits per byte"));
  assert.equal(lines.at(-1), "step 300/300  loss 3.000  1,000 tokens/s  ETA 0:00");
  assert.equal(lines.length, 1 + 5 + 1 + 1);
  assert.ok(!out.text.includes(escape));
});

test("on a terminal: one line that is redrawn, never wider than the screen, and taken away at the end", () => {
  for (const columns of [40, 60, 80, 200]) {
    let time = 0;
    const out = screen({ isTTY: true, columns });
    const show = progress(out, { steps: 20, colour: false, now: () => time });
    for (let n = 1; n <= 20; n++) {
      time += 1000;
      show(step(n));
    }
    show.end();
    assert.ok(!out.text.includes("\n"));
    const frames = out.text.split(`\r${escape}[2K`).filter((frame) => frame !== "");
    assert.equal(frames.length, 20);
    for (const frame of frames) assert.ok(frame.length < columns, `${columns}: ${frame}`);
    assert.ok(out.text.endsWith(`\r${escape}[2K`));
  }
});

test("the time that is left follows the steps, not what comes between them", () => {
  let time = 0;
  const out = screen();
  const show = progress(out, { steps: 1000, everyMs: 0, now: () => time });
  for (let n = 1; n <= 50; n++) {
    time += 100;
    show(step(n));
  }
  time += 60_000;
  show({ event: "eval", step: 50, loss: 4 });
  time += 100;
  show(step(51));
  assert.match(out.text.trimEnd().split("\n").at(-1) ?? "", /ETA 1:35$/);
});

test("JSON lines have the fields that programs were promised", () => {
  assert.equal(jsonLine(step(3, 1234.56)), '{"event":"step","step":3,"loss":5.97,"tokensPerSecond":1235}');
  assert.equal(
    jsonLine({ event: "eval", step: 3, loss: 1.5, bitsPerByte: 0.75 }),
    '{"event":"eval","step":3,"loss":1.5,"bitsPerByte":0.75}',
  );
  assert.equal(jsonLine({ event: "checkpoint", step: 3, path: "run/step-00000003" }), undefined);
});

test("thousands are grouped", () => {
  assert.deepEqual([0, 999, 1000, 1234567.8].map(grouped), ["0", "999", "1,000", "1,234,568"]);
});
