/** Which processor this is, as far as a compiler's `native` depends on it: the same model may have other features in another virtual
 *  machine, so on Linux the kernel's list of them counts. */
import { closeSync, openSync, readSync } from "node:fs";
import { arch, cpus } from "node:os";

/** The lines of /proc/cpuinfo on x86, ARM, RISC-V, POWER and LoongArch that say what a core can do. */
const telling =
  /^(vendor_id|cpu family|model|model name|stepping|flags|features|cpu implementer|cpu variant|cpu part|isa|uarch|cpu)\s*:/i;

/** Equal texts for equal processors. */
export function processorText(): string {
  const head = firstCore();
  const lines = head.split("\n").filter((line) => telling.test(line));
  return [arch(), ...(lines.length > 0 ? lines : [cpus()[0]?.model ?? ""])].join("\n");
}

/** What /proc/cpuinfo says of the first core; to read it for all of a large machine takes long. */
function firstCore(): string {
  try {
    const file = openSync("/proc/cpuinfo", "r");
    try {
      const buffer = Buffer.alloc(1 << 14);
      const text = buffer.toString("utf8", 0, readSync(file, buffer));
      return text.split("\n\n")[0] ?? "";
    } finally {
      closeSync(file);
    }
  } catch {
    return ""; // another system
  }
}
