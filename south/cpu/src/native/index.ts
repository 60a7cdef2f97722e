/** The native tier of the processor, loaded where it is asked for. What it takes and gives is between it and the device. */

import { openNative as open } from "./tier.ts";

/** Opens the tier on what the device has; a string is why it cannot be had. */
export const openNative: (ground: never) => Promise<unknown> = open;
