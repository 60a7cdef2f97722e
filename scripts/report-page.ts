/** `npm run report-page`: bundles the script and the style of a run's page, from `north/train/page`, into the module that has them
 *  as text: a page is then written anywhere, with no bundler at hand. A test compares it with the sources. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { buildSync } from "esbuild";

const root = path.resolve(import.meta.dirname, "..");
export const partsFile = path.join(root, "north/train/src/reports/page-parts.ts");

function bundled(entry: string): string {
  const { outputFiles } = buildSync({
    entryPoints: [path.join(root, "north/train/page", entry)],
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    target: ["es2023", "chrome111", "firefox115", "safari16.4"],
    legalComments: "none",
    charset: "utf8",
  });
  // What ends the element that it stands in.
  return (outputFiles[0]?.text ?? "").trim().replaceAll("</", String.raw`<\/`);
}

/** The module's text. */
export const pageParts =
  (): string => `/** The script and the style of a run's page, bundled: \`npm run report-page\` makes this file from north/train/page. */
export const pageScript = ${JSON.stringify(bundled("main.ts"))};
export const pageStyle = ${JSON.stringify(bundled("page.css"))};
`;

if (import.meta.main) {
  writeFileSync(partsFile, pageParts());
  console.log(path.relative(root, partsFile));
}
