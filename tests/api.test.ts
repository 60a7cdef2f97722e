/** What the packages export is described: each export of each entry has a docstring, and the reference that `npm run docs` makes of
 *  them has each under its name. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { type Declared, exportReader } from "../scripts/api/exports.ts";
import { entriesOf, referencePage } from "../scripts/api/markdown.ts";
import { packageEntries, root } from "../scripts/api/packages.ts";

const folder = mkdtempSync(path.join(tmpdir(), "sinan-api-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** One line each, named as the op: the op table describes them. */
const builders = path.join(root, "core/src/ops/build.ts");

const read = exportReader(".ts");
const entries = packageEntries().map((entry) => ({ ...entry, exports: read(path.join(root, entry.file)) }));

test("every public export has a docstring", () => {
  const bare = new Set<string>();
  let count = 0;
  for (const { exports } of entries) {
    for (const { name, declared } of entriesOf(exports)) {
      count++;
      if (declared.doc === "" && declared.file !== builders)
        bare.add(`${path.relative(root, declared.file)}:${declared.line} ${name}`);
    }
  }
  assert.ok(count > 700, `only ${count} exports found`);
  assert.deepEqual([...bare], []);
});

test("what is exported is what a program gets", async () => {
  const own = entries.find(({ entry }) => entry === "sinan");
  assert.ok(own);
  const values = [...own.exports]
    .filter(([, value]) => value instanceof Map || isValue(value as Declared))
    .map(([name]) => name);
  assert.deepEqual(values.sort(), Object.keys(await import("sinan")).sort());
});

const isValue = ({ kind, texts }: Declared): boolean =>
  (kind !== "type" && kind !== "interface") || texts.some((text) => /^(export )?(const|function|class) /.test(text));

test("a page: declarations without bodies, tags as lists, examples as code, names that differ in case apart", () => {
  const file = path.join(folder, "index.ts");
  writeFileSync(
    path.join(folder, "part.ts"),
    `/** Adds.
 *
 *    a + b
 *
 *  @param a  the first,
 *    of two
 *  @returns the sum
 *  @throws RangeError never
 *  @example add(1, 2)   // 3 */
export function add(a: number, b: number): number {
  return a + b;
}
/** Another. */
export interface Add {
  /** In units. */
  readonly size: number;
  go(): void;
}
const hidden = 1;
/** A class. */
export class Thing {
  #secret = hidden;
  /** Says it. */
  say(): number {
    return this.#secret;
  }
}
`,
  );
  writeFileSync(
    file,
    'export { add as plus, type Add as Plus } from "./part.ts";\nexport * as inner from "./part.ts";\n',
  );
  const exported = exportReader(".ts")(file);
  assert.deepEqual(
    entriesOf(exported).map(({ name }) => name),
    ["plus", "Plus", "inner.add", "inner.Add", "inner.Thing"],
  );
  const page = referencePage(exported, { entry: "x", source: () => "part.ts", room: () => "room" });
  assert.ok(page.includes("[plus](#plus), [Plus](#plus-1)"), page);
  assert.ok(
    page.includes("```ts\nfunction add(a: number, b: number): number\n```\n\nAdds.\n\n```text\n  a + b\n```"),
    page,
  );
  assert.ok(page.includes("- `a`: the first, of two\n- **returns** the sum\n- **throws** RangeError never"), page);
  assert.ok(page.includes("```ts\nadd(1, 2)   // 3\n```"), page);
  assert.ok(
    page.includes("interface Add { … }\n```\n\nAnother.\n\n- `size: number`  \n  In units.\n- `go(): void`"),
    page,
  );
  assert.ok(page.includes("- `say(): number`  \n  Says it."), page);
  assert.ok(!page.includes("secret"));
});
