/** A run's page in Chromium, from a file and without a network: charts, crosshair, zoom, keyboard, table, comparison; on a phone's
 *  width; contrast of text and curves in the light and in the dark. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { pageOf, runRecord, type RunRecord } from "@sinan/train";
import { fakeRun, fakeSettings } from "../north/train/src/reports/run.fixture.ts";
import { pageParts, partsFile } from "../scripts/report-page.ts";
import { noChromium, openChromium } from "./browser/chromium.ts";
import type { Browser, Page } from "./browser/playwright.d.ts";

const folder = mkdtempSync(path.join(tmpdir(), "sinan-report-"));
const steps = 3000;

function recordOf(name: string, run: Parameters<typeof fakeRun>[0]): RunRecord {
  const record = runRecord({ name, settings: fakeSettings(run) });
  let time = 1.79e9;
  for (const event of fakeRun(run)) {
    if (event.event === "step") time += 0.04;
    record.event(event, time);
  }
  return record;
}

const first = path.join(folder, "first.html");
const second = path.join(folder, "second.html");
const lines = path.join(folder, "events.jsonl");
let browser: Browser | undefined;

before(async () => {
  writeFileSync(first, pageOf([recordOf("first", { steps }).data()]));
  writeFileSync(second, pageOf([recordOf("second", { steps, until: 1900, seed: 2, rate: 1e-3 }).data()]));
  writeFileSync(lines, [...fakeRun({ steps: 500, seed: 3 })].map((event) => `${JSON.stringify(event)}\n`).join(""));
  if (noChromium === false) browser = await openChromium();
});
after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Look {
  readonly width?: number;
  readonly scheme?: "light" | "dark";
}

/** Opens a page, lets `work` look at it, and knows that nothing was complained of. */
async function visit(file: string, { width = 1200, scheme = "light" }: Look, work: (page: Page) => Promise<void>) {
  assert.ok(browser);
  const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme: scheme, offline: true });
  try {
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on("pageerror", (error) => void complaints.push(String(error)));
    page.on("console", (message) => void complaints.push(message.text()));
    await page.goto(pathToFileURL(file).href);
    await work(page);
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
  }
}

const ask = async <T>(page: Page, expression: string): Promise<T> => (await page.evaluate(expression)) as T;
/** Playwright's own waiting evaluates text in the page, which the page's policy forbids. */
async function until(page: Page, expression: string): Promise<void> {
  for (let n = 0; n < 200; n++) {
    if (await ask<boolean>(page, expression)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`never so: ${expression}`);
}

const titles = "[...document.querySelectorAll('figure:not([hidden]) h2')].map((h) => h.textContent)";
const tips = "[...document.querySelectorAll('.tip:not([hidden])')].map((tip) => tip.innerText)";
const frame = "document.querySelector('.frame').getBoundingClientRect().toJSON()";
interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

test("the page's script and style are those of north/train/page", () => {
  assert.ok(readFileSync(partsFile, "utf8") === pageParts(), "npm run report-page makes them anew");
});

test("a chart for each curve, samples, settings, notes", { skip: noChromium }, async () => {
  await visit(first, {}, async (page) => {
    assert.deepEqual(await ask(page, titles), [
      "Loss",
      "Learning rate",
      "Gradient norm",
      "Tokens per second",
      "Memory",
      "Held-out bits per byte",
    ]);
    const curves = "[...document.querySelectorAll('figure')].map((f) => f.querySelectorAll('path.line').length)";
    assert.deepEqual(await ask(page, curves), [2, 1, 1, 1, 2, 1]);
    const reach =
      "[...document.querySelectorAll('path.line')].every((p) => p.getBBox().width > 100 && !/NaN/.test(p.getAttribute('d')))";
    assert.equal(await ask(page, reach), true);
    const text = await ask<string>(page, "document.body.innerText");
    for (const part of [
      "first",
      "finished",
      "3000 of 3000",
      "211 MB",
      "There she blows!",
      "model.hidden_size",
      "6 deviations",
    ])
      assert.ok(text.includes(part), part);
    assert.equal(await ask(page, "performance.getEntriesByType('resource').length"), 0);
  });
});

test("crosshair in all charts, zoom by dragging, smoothing, logarithm, time", { skip: noChromium }, async () => {
  await visit(first, {}, async (page) => {
    const box = await ask<Box>(page, frame);
    const y = box.y + box.height / 2;
    await page.mouse.move(box.x + box.width / 2, y);
    const shown = await ask<string[]>(page, tips);
    assert.equal(shown.length, 6);
    const step = Number(/^step (\d+)/.exec(shown[0] ?? "")?.[1]);
    assert.ok(step > 1300 && step < 1700, String(shown));
    assert.match(shown[0] ?? "", /train\s+3\.\d+\s+held-out\s+3\.\d+/);

    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.75, y);
    await page.mouse.up();
    const labels =
      "[...document.querySelectorAll('figure:first-of-type .label[text-anchor]')].map((l) => l.textContent).filter((l) => /^\\d{4}$/.test(l)).map(Number)";
    const zoomed = await ask<number[]>(page, labels);
    assert.ok(zoomed.length >= 3 && Math.min(...zoomed) >= 1300 && Math.max(...zoomed) <= 2400, String(zoomed));
    await page.evaluate("[...document.querySelectorAll('button')].find((b) => b.textContent === 'Whole run').click()");
    assert.ok((await ask<number[]>(page, labels)).includes(3000));

    const line = "document.querySelector('path.line').getAttribute('d')";
    const smooth = await ask<string>(page, line);
    await page.evaluate(
      "{ const s = document.querySelector('input[type=range]'); s.value = 0; s.dispatchEvent(new Event('input')); }",
    );
    const raw = await ask<string>(page, line);
    assert.notEqual(raw, smooth);
    await page.evaluate("document.querySelector('.toolbar input[type=checkbox]').click()");
    assert.notEqual(await ask(page, line), raw);
    await page.evaluate(
      "{ const s = document.querySelector('select'); s.value = 'time'; s.dispatchEvent(new Event('change')); }",
    );
    const times = await ask<string[]>(
      page,
      "[...document.querySelectorAll('figure:first-of-type .label')].map((l) => l.textContent)",
    );
    assert.ok(times.includes("2:00") || times.includes("1:40"), String(times));
  });
});

test("by keyboard, and as a table", { skip: noChromium }, async () => {
  await visit(first, {}, async (page) => {
    await page.evaluate("document.querySelector('.frame').focus()");
    for (const key of ["End", "ArrowLeft", "+"]) await page.keyboard.press(key);
    assert.match(
      await ask(page, "document.querySelector('[aria-live]').textContent"),
      /^step 29\d\d: train 3\.\d+, held-out 3\.\d+$/,
    );
    assert.match(
      await ask(page, "document.querySelector('.frame').getAttribute('aria-label')"),
      /^Loss\. train: 7\.\d+ at step \d+, 3\.\d+ at 3000/,
    );
    await page.keyboard.press("Escape");
    await page.evaluate("document.querySelector('figure summary').click()");
    await until(page, "document.querySelectorAll('figure:first-of-type tbody tr').length >= 20");
    const rows = await ask<string[]>(
      page,
      "[...document.querySelectorAll('figure:first-of-type tr')].map((r) => r.innerText)",
    );
    assert.match(rows[0] ?? "", /^step\s+train\s+held-out$/);
    assert.match(rows.at(-1) ?? "", /^3000\s+3\.\d+\s+3\.\d+$/);
    const unnamed =
      "[...document.querySelectorAll('button, input, select, [role=img], [role=region]')].filter((e) => !(e.ariaLabel || e.innerText || e.labels?.[0]?.innerText))";
    assert.equal(await ask(page, `${unnamed}.length`), 0);
  });
});

test("another page, and lines of events, laid over it", { skip: noChromium }, async () => {
  await visit(first, {}, async (page) => {
    await page.setInputFiles("input[type=file]", [second, lines]);
    await until(page, "document.querySelectorAll('.run').length === 3");
    assert.deepEqual(await ask(page, "[...document.querySelectorAll('h1')].map((h) => h.textContent)"), [
      "first",
      "second",
      "events",
    ]);
    assert.equal(await ask(page, "document.querySelectorAll('figure:first-of-type path.line').length"), 6);
    const differing = await ask<string[]>(
      page,
      "[...document.querySelectorAll('tr.differs th')].map((h) => h.innerText)",
    );
    assert.ok(
      differing.some((row) => row.startsWith("learningRate")),
      String(differing),
    );
    await page.setInputFiles("input[type=file]", [partsFile]);
    await until(page, "!document.querySelector('.problem').hidden");
    assert.match(
      await ask(page, "document.querySelector('.problem').textContent"),
      /is neither a report\.html nor an events\.jsonl/,
    );
  });
});

/** Contrast after WCAG 2.2: of each text with what is behind it, of each curve with its paper. */
const contrasts = `(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (e) => { for (let at = e; at; at = at.parentElement) { const c = rgba(getComputedStyle(at).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255, 255]; };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    if (["SCRIPT", "STYLE", "OPTION"].includes(e.tagName) || !e.checkVisibility?.()) continue;
    const style = getComputedStyle(e);
    if ([...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) {
      const colour = e.namespaceURI.endsWith("svg") ? style.fill : style.color;
      found.push({ what: e.textContent.slice(0, 30), least: 4.5, is: ratio(rgba(colour), behind(e)) });
    }
    if (e.matches("path.line")) found.push({ what: e.getAttribute("class"), least: 3, is: ratio(rgba(style.stroke), behind(e)) });
  }
  return found;
})()`;

for (const scheme of ["light", "dark"] as const)
  test(`on a phone, ${scheme}: nothing is wider than the screen, and all can be read`, {
    skip: noChromium,
  }, async () => {
    await visit(first, { width: 360, scheme }, async (page) => {
      await page.setInputFiles("input[type=file]", [second]);
      await until(page, "document.querySelectorAll('.run').length === 2");
      assert.equal(await ask(page, "document.documentElement.scrollWidth"), 360);
      const small =
        "[...document.querySelectorAll('.plot .label, p, td, th, label, dt, small')].filter((e) => parseFloat(getComputedStyle(e).fontSize) < 12).length";
      assert.equal(await ask(page, small), 0);
      const seen = await ask<{ what: string; least: number; is: number }[]>(page, contrasts);
      assert.ok(seen.length > 100);
      assert.deepEqual(
        seen.filter(({ is, least }) => is < least),
        [],
      );
      const ground = await ask<string>(page, "getComputedStyle(document.body).backgroundColor");
      assert.equal(ground, scheme === "dark" ? "rgb(18, 21, 24)" : "rgb(245, 244, 240)");
    });
  });
