/** The system's Chromium, driven for tests. None is downloaded: where there is none, tests say so and are skipped. */
import { existsSync } from "node:fs";
import path from "node:path";
import { type Browser, chromium } from "playwright-core";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** `SINAN_CHROMIUM`, or the first on the path. */
function executable(): string | undefined {
  const asked = process.env["SINAN_CHROMIUM"];
  if (asked) return asked;
  const folders = (process.env["PATH"] ?? "").split(path.delimiter).filter(Boolean);
  return names.flatMap((name) => folders.map((folder) => path.join(folder, name))).find((file) => existsSync(file));
}

/** Why tests that need a page are skipped; `false` where they are not. */
export const noChromium: string | false =
  executable() === undefined && "there is no Chromium here: install Debian's chromium, or name one in SINAN_CHROMIUM";

/** Headless, with a profile of its own, asking nothing of any network. */
export const openChromium = (): Promise<Browser> =>
  chromium.launch({
    executablePath: executable() ?? "chromium",
    headless: true,
    args: [
      ...(process.geteuid?.() === 0 ? ["--no-sandbox"] : []),
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--js-flags=--expose-gc",
    ],
  });
