/** Test files as programs for a page: bundled, with what they ask of Node replaced by `page/`. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { build, type BuildFailure, type Plugin } from "esbuild";

export const root = path.resolve(import.meta.dirname, "../..");

const standIns: Readonly<Record<string, string>> = {
  "node:test": "test.ts",
  "node:assert/strict": "assert.ts",
  "node:fs": "fs.ts",
  "node:fs/promises": "fs.ts",
};

/** A bundle has the seed and the devices that it imports. */
const prelude = `import "./tests/seed.ts";\nimport "@sinan/cpu";\nimport "@sinan/sim";\nimport "sinan/interpreter";\n`;

export interface PageProgram {
  /** The test file, from the root. */
  readonly file: string;
  readonly code: Uint8Array;
}

/** The files as programs, and why the others are none: what of Node they ask for that no page has.
 *  @throws whatever else is wrong with a file */
export async function pagePrograms(
  files: readonly string[],
): Promise<{ programs: PageProgram[]; elsewhere: Map<string, string> }> {
  const elsewhere = new Map<string, string>();
  const programs: PageProgram[] = [];
  for (const file of files) {
    const made = await pageProgram(file);
    if (typeof made === "string") elsewhere.set(file, made);
    else programs.push({ file, code: made });
  }
  return { programs, elsewhere };
}

async function pageProgram(file: string): Promise<Uint8Array | string> {
  const missing = new Set<string>();
  try {
    const { outputFiles } = await build({
      stdin: {
        contents: `${prelude}import ${JSON.stringify(`./${file}`)};\nimport { runAll } from "node:test";\nawait runAll();\n`,
        resolveDir: root,
        sourcefile: `page of ${file}`,
      },
      bundle: true,
      write: false,
      format: "esm",
      platform: "browser",
      target: "es2022",
      charset: "utf8",
      logLevel: "silent",
      define: {
        "process.env": "sinanChoice.env",
        "process.versions.node": JSON.stringify(process.versions.node),
      },
      // Packages say that most of their files have no side effects; tests are nothing else, and rely on what others load.
      ignoreAnnotations: true,
      plugins: [pagePlugin(missing)],
    });
    return missing.size > 0 ? [...missing].sort().join(", ") : (outputFiles[0]?.contents ?? new Uint8Array());
  } catch (cause) {
    const errors = (cause as Partial<BuildFailure>).errors ?? [];
    const reasons = errors.map(({ text }) => text).filter((text) => /page\/\w+\.ts"|Could not resolve "/.test(text));
    if (errors.length === 0 || reasons.length < errors.length) throw cause;
    return reasons.map((text) => text.replace(/No matching export in .* for import/, "no")).join(", ");
  }
}

function pagePlugin(missing: Set<string>): Plugin {
  return {
    name: "page",
    setup(build) {
      build.onResolve({ filter: /^node:/ }, ({ path: name }) => {
        const standIn = standIns[name];
        if (standIn) return { path: path.join(import.meta.dirname, "page", standIn) };
        missing.add(name);
        return { path: name, external: true };
      });
      // Where a test lies, as the server has it. What is tested says where the bundle is.
      build.onLoad({ filter: /\.test\.ts$|[\\/]tests[\\/].*\.ts$/ }, async ({ path: file }) => {
        const text = await readFile(file, "utf8");
        const place = `/${path.relative(root, file).replaceAll("\\", "/")}`;
        return {
          loader: "ts",
          contents: text
            .replaceAll("import.meta.dirname", JSON.stringify(path.posix.dirname(place)))
            .replaceAll("import.meta.url", `new URL(${JSON.stringify(place)}, location.href).href`),
        };
      });
    },
  };
}
