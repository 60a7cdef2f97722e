/** One page in one file: data, style and script are in it, and it asks nothing of any network. The script's sources are in
 *  `north/train/page`; `npm run report-page` bundles them. */
import { pageScript, pageStyle } from "./page-parts.ts";
import type { RunData } from "./record.ts";

const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text: string): string => text.replaceAll(/[&<>"]/g, (c) => escapes[c] ?? c);

/** JSON that ends no `script` element. */
const inert = (value: unknown): string => JSON.stringify(value).replaceAll("<", "\\u003c");

const policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";
const icon =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 3c2 8 6 9 12 9' fill='none' stroke='%230a66a8' stroke-width='2.4' stroke-linecap='round'/%3E%3C/svg%3E";

/** The page of one run, or of several over each other.
 *
 *  @example await writeFile("both.html", pageOf([a.data(), b.data()])); */
export function pageOf(runs: readonly RunData[]): string {
  const title = escaped(runs.map(({ name }) => name).join(" · "));
  const plainly = runs
    .map(({ name, status, step, steps }) => `${name}: ${status}, step ${step}${steps === null ? "" : ` of ${steps}`}`)
    .join("; ");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${title} · Sinan</title>
<link rel="icon" href="${icon}">
<style>${pageStyle}</style>
</head>
<body>
<main><noscript><p>${escaped(plainly)}. The charts need JavaScript.</p></noscript></main>
<footer>Written by Sinan. This file is complete in itself.</footer>
<script type="application/json" id="runs">${inert(runs)}</script>
<script>${pageScript}</script>
</body>
</html>
`;
}
