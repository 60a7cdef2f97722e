/** The Python that has PyTorch. Debian's package belongs to the system's Python, which need not be the first on the path. */
import { spawnSync } from "node:child_process";

const candidates = ["python3", "/usr/bin/python3"];

/** The command of a Python that imports torch, the one in SINAN_PYTHON first; undefined where there is none. */
export function pythonWithTorch(): string | undefined {
  const chosen = process.env["SINAN_PYTHON"];
  return (chosen ? [chosen, ...candidates] : candidates).find(
    (python) => spawnSync(python, ["-c", "import torch"], { stdio: "ignore" }).status === 0,
  );
}
