/** The Pythons that have PyTorch: the newest in the folder of the peers, Debian's, which belongs to the system's Python, and
 *  whatever is first on the path. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import process from "node:process";

/** Where `npm run peers -- --torch` installs the newest PyTorch. */
export const newestTorch = path.resolve(import.meta.dirname, "../peers/.venv");

export interface Torch {
  readonly python: string;
  readonly version: string;
  /** Whether its products and its other loops share one pool of threads; where not, each has a setting of its own. */
  readonly hasOnePool: boolean;
  readonly hasTransformers: boolean;
}

const question = `
import importlib.util as u, torch
print(torch.__version__, "BLAS_INFO=mkl" in torch.__config__.show(), u.find_spec("transformers") is not None)`;

function ask(python: string): Torch | undefined {
  const { status, stdout } = spawnSync(python, ["-c", question], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [version, mkl, transformers] = stdout?.trim().split("\n").at(-1)?.split(" ") ?? [];
  if (status !== 0 || version === undefined) return undefined;
  return { python, version, hasOnePool: mkl === "True", hasTransformers: transformers === "True" };
}

let found: readonly Torch[] | undefined;

/** One Python for each version of torch that there is; the one in SINAN_PYTHON first. */
export function torches(): readonly Torch[] {
  if (found) return found;
  const chosen = process.env["SINAN_PYTHON"];
  const candidates = [
    ...(chosen ? [chosen] : []),
    path.join(newestTorch, "bin", "python"),
    "python3",
    "/usr/bin/python3",
  ];
  const all = candidates.map(ask).filter((torch) => torch !== undefined);
  found = [...new Map(all.toReversed().map((torch) => [torch.version, torch])).values()].toReversed();
  return found;
}
