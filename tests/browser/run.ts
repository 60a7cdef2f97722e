/** Runs a program of `bundle.ts` in a page and tells of its tests as they begin. */
import type { Browser } from "playwright-core";
import type { Choice, Told } from "./page/test.ts";

export interface Outcome {
  readonly skip?: string;
  readonly error?: string;
}

export interface Begun {
  readonly name: string;
  readonly outcome: Promise<Outcome>;
}

/** Opens the page of a program in a context, so in a process, of its own, and calls `onTest` for each test that begins there.
 *
 *  @param choice  of the tests, which are run
 *  @throws (as a rejection) for an error that is no test's, and when it is not done in time */
export async function runPage(
  browser: Browser,
  url: string,
  { choice, timeoutMs, onTest }: { choice: Choice; timeoutMs: number; onTest: (test: Begun) => void },
): Promise<void> {
  const context = await browser.newContext();
  const ends = new Map<string, (outcome: Outcome) => void>();
  try {
    const page = await context.newPage();
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${url}: not done after ${timeoutMs} ms`)), timeoutMs);
      const fail = (cause: unknown): void => {
        clearTimeout(timer);
        reject(cause instanceof Error ? cause : new Error(String(cause)));
      };
      const told = (told: Told): void => {
        if (told.event === "done") {
          clearTimeout(timer);
          return resolve();
        }
        const name = told.path.join(" › ");
        if (told.event === "begin") onTest({ name, outcome: new Promise((end) => void ends.set(name, end)) });
        else ends.get(name)?.(told);
      };
      page.on("crash", () => fail(new Error(`${url}: the page crashed`)));
      page.on("pageerror", fail);
      void (async () => {
        await page.exposeFunction("sinanTold", told);
        await page.addInitScript(`globalThis.sinanChoice = ${JSON.stringify(choice)};`);
        await page.goto(url);
      })().catch(fail);
    });
  } finally {
    for (const end of ends.values()) end({ error: "the page ended before this test did" });
    await context.close();
  }
}
