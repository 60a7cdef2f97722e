/** Packages as they are published: their sources as JavaScript, file by file, in a folder of their own. What `npm run build`
 *  makes, without its declarations, in a tenth of a second. */
import { globSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { build } from "esbuild";

const root = path.resolve(import.meta.dirname, "../..");

interface Manifest {
  readonly name: string;
  readonly exports: Readonly<Record<string, string>>;
}

/** Writes the packages of these homes (`core`, `south/cpu`) into `folder/node_modules`, and a program that uses them beside. */
export async function buildInto(folder: string, homes: readonly string[], program: string): Promise<void> {
  await transpile([program], folder, path.dirname(program));
  for (const home of homes) {
    const { name, exports } = JSON.parse(readFileSync(path.join(root, home, "package.json"), "utf8")) as Manifest;
    const outdir = path.join(folder, "node_modules", name);
    const every = globSync("src/**/*.ts", { cwd: path.join(root, home) });
    const sources = every.filter((file) => !/\.(test|fixture|d)\.ts$/.test(file));
    await transpile(
      sources.map((file) => path.join(home, file)),
      outdir,
      home,
    );
    for (const file of globSync("**/*.js", { cwd: outdir })) {
      const text = readFileSync(path.join(outdir, file), "utf8");
      writeFileSync(path.join(outdir, file), text.replaceAll(/((?:from|import\(?) ?"\.[^"]*)\.ts"/g, '$1.js"'));
    }
    const entries = Object.entries(exports).map(([key, file]) => [key, file.replace(/\.ts$/, ".js")]);
    const manifest = { name, version: "0.0.0", type: "module", exports: Object.fromEntries(entries) };
    writeFileSync(path.join(outdir, "package.json"), JSON.stringify(manifest));
  }
  writeFileSync(path.join(folder, "package.json"), '{ "type": "module" }');
}

const transpile = (files: readonly string[], outdir: string, outbase: string): Promise<unknown> =>
  build({ entryPoints: [...files], outdir, outbase, absWorkingDir: root, target: "es2022", logLevel: "error" });
