/** A program as a small page would load it: one file by esbuild, with the WebAssembly tier of `@sinan/cpu/lean` and without
 *  what only names in strings lead to (the other devices). Its size is what people download, so the check holds a bar to it. */
import path from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = path.resolve(import.meta.dirname, "../..");

/** What `examples/mlp.ts` is at most, in bytes as gzip makes them; a KB is 1024, as esbuild counts. */
export const barBytes = 80 * 1024;

export interface Bundle {
  readonly code: string;
  readonly bytes: number;
  readonly gzipBytes: number;
  /** Bytes of each source file in the bundle, before gzip, the largest first. */
  readonly modules: readonly (readonly [file: string, bytes: number])[];
}

/** Bundles a program of the repository, given by its path from the root, behind the import of the processor's package. */
export async function bundle(program: string, processor = "@sinan/cpu/lean"): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: `import ${JSON.stringify(processor)};\nimport "./${program}";`, resolveDir: root, loader: "ts" },
    absWorkingDir: root,
    bundle: true,
    minify: true,
    format: "esm",
    platform: "neutral",
    target: "es2024",
    external: ["node:*"],
    write: false,
    metafile: true,
    logLevel: "error",
  });
  const [file] = outputFiles;
  const [output] = Object.values(metafile.outputs);
  if (!file || !output) throw new Error(`${program}: esbuild made nothing of it`);
  return {
    code: file.text,
    bytes: file.contents.length,
    gzipBytes: gzipSync(file.contents, { level: 9 }).length,
    modules: Object.entries(output.inputs)
      .map(([name, { bytesInOutput }]) => [name, bytesInOutput] as const)
      .filter(([, bytes]) => bytes > 0)
      .sort(([, a], [, b]) => b - a),
  };
}
