/** The abstract hardware: what fusion, schedules, memory plans and (later) placement and the planner know of a device.
 *  Fusion and schedules read only its static facts, so a plan never depends on a timing. */
import type { DType } from "../ir/dtype.ts";

/** A level of memory: its size and speed. */
export interface MemoryLevel {
  readonly name: "registers" | "l1" | "l2" | "l3" | "local" | "device" | "host" | "disk";
  readonly bytes: number;
  readonly bytesPerSecond?: number;
  /** How many compute units share it. */
  readonly sharedBy?: number;
}

/** Units of one kind and what they do in a second. */
export interface ComputeUnit {
  readonly unit: "scalar" | "vector" | "matrix";
  readonly dtype: DType;
  /** Elements of one instruction. */
  readonly lanes: number;
  readonly peakFlops?: number;
}

/** What the compiler knows of a device. */
export interface HardwareModel {
  /** Unique on the machine, `driver` or `driver:index`. */
  readonly id: string;
  readonly driver: string;
  readonly kind: "cpu" | "gpu" | "npu" | "engine" | "disk" | "network" | "simulated" | "interpreter";
  readonly vendor: string;
  readonly available: boolean;
  /** Why it is not available. */
  readonly reason?: string;
  /** Which of several ways kernels are made in, where a device has several. Part of a numeric plan. */
  readonly tier?: string;
  /** Forms of code that it loads, the preferred one first. */
  readonly codegens: readonly string[];
  readonly dtypes: Readonly<Partial<Record<DType, "native" | "emulated">>>;
  readonly compute: readonly ComputeUnit[];
  readonly memory: readonly MemoryLevel[];
  /** Memory of `device` space has a `view`. */
  readonly unified: boolean;
  /** Static facts that change the numbers, such as "relaxed-madd": they are part of a numeric plan. */
  readonly features: readonly string[];
  readonly limits: {
    /** Bytes; every region's offset is a multiple. */
    readonly alignment: number;
    readonly maxBuffers: number;
    readonly maxBytes: number;
    /** Bytes of one allocation, where that is less than `maxBytes`. */
    readonly maxBufferBytes?: number;
    /** Vector registers that a schedule may count on. */
    readonly vectorRegisters: number;
    /** Whether two regions of one launch may overlap. */
    readonly aliasing: boolean;
  };
  readonly launchNs?: number;
  /** Whether several threads can work on its memory: loops are then shared out. No part of a numeric plan. */
  readonly sharedMemory?: boolean;
  /** How many threads share the loops of kernels. Nothing that is computed depends on it: it is no part of a numeric plan. */
  readonly threads?: number;
}
