/** The native tier of the processor, loaded where it is asked for. */

export { openNative } from "./tier.ts";
