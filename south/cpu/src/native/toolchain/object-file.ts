/** Whether a file is a shared object that this process can load: a compiler may end well and leave something else, or half of it,
 *  and to map half a file is to be killed at its first access. */
import process from "node:process";

/** Machine numbers of ELF (e_machine), Mach-O (cputype) and PE (Machine). */
const machines: Readonly<Record<string, { elf: number; mach?: number; pe?: number }>> = {
  x64: { elf: 62, mach: 0x0100_0007, pe: 0x8664 },
  arm64: { elf: 183, mach: 0x0100_000c, pe: 0xaa64 },
  riscv64: { elf: 243 },
  ppc64: { elf: 21 },
  s390x: { elf: 22 },
  loong64: { elf: 258 },
};

/** The ending of shared objects here. */
export const objectExtension = process.platform === "win32" ? "dll" : process.platform === "darwin" ? "dylib" : "so";

/** What is wrong with a shared object; undefined if nothing is to be seen. */
export function objectFault(bytes: Uint8Array, arch: string = process.arch): string | undefined {
  if (bytes.length === 0) return "it is empty";
  if (bytes.length < 64) return `it has only ${bytes.length} bytes`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getUint32(0);
  try {
    if (magic === 0x7f45_4c46) return elfFault(view, machines[arch]?.elf);
    if (magic === 0xcffa_edfe) return machFault(view, machines[arch]?.mach);
    if (magic >>> 16 === 0x4d5a) return peFault(view, machines[arch]?.pe);
  } catch {
    return "its headers point behind its end"; // RangeError of the view
  }
  return "it is no object file";
}

const otherMachine = (machine: number): string => `it is for another processor (machine ${machine})`;

/** ELF-64, little- or big-endian as the machine is: System V ABI, "Object Files". */
function elfFault(view: DataView, machine: number | undefined): string | undefined {
  const little = view.getUint8(5) === 1;
  const u16 = (at: number): number => view.getUint16(at, little);
  const u64 = (at: number): number => Number(view.getBigUint64(at, little));
  if (view.getUint8(4) !== 2) return "it is not for 64 bits";
  if (machine !== undefined && u16(18) !== machine) return otherMachine(u16(18));
  if (u16(16) !== 3) return "it is no shared object";
  const [start, size, count] = [u64(32), u16(54), u16(56)];
  if (count === 0) return "it has no segments";
  const load = 1;
  for (let at = start; at < start + size * count; at += size)
    if (view.getUint32(at, little) === load && u64(at + 8) + u64(at + 32) > view.byteLength)
      return "its end is missing";
  // The sections lie behind everything else.
  return u64(40) + u16(58) * u16(60) > view.byteLength ? "its end is missing" : undefined;
}

/** Mach-O, 64 bits: <mach-o/loader.h>. */
function machFault(view: DataView, machine: number | undefined): string | undefined {
  const type = view.getUint32(12, true);
  if (machine !== undefined && view.getUint32(4, true) !== machine) return otherMachine(view.getUint32(4, true));
  if (type !== 6 && type !== 8) return "it is no shared object"; // MH_DYLIB, MH_BUNDLE
  let at = 32;
  for (let n = view.getUint32(16, true); n > 0; n--, at += view.getUint32(at + 4, true)) {
    const segment = 0x19; // LC_SEGMENT_64
    if (view.getUint32(at, true) !== segment) continue;
    const end = Number(view.getBigUint64(at + 40, true)) + Number(view.getBigUint64(at + 48, true));
    if (end > view.byteLength) return "its end is missing";
  }
  return undefined;
}

/** PE32+: Microsoft's "PE Format". */
function peFault(view: DataView, machine: number | undefined): string | undefined {
  const at = view.getUint32(60, true);
  if (view.getUint32(at) !== 0x5045_0000) return "it is no shared object";
  const found = view.getUint16(at + 4, true);
  if (machine !== undefined && found !== machine) return otherMachine(found);
  const dll = 0x2000;
  if ((view.getUint16(at + 22, true) & dll) === 0) return "it is no shared object";
  const sections = at + 24 + view.getUint16(at + 20, true);
  const end = sections + 40 * view.getUint16(at + 6, true);
  for (let section = sections; section < end; section += 40)
    if (view.getUint32(section + 20, true) + view.getUint32(section + 16, true) > view.byteLength)
      return "its end is missing";
  return undefined;
}
