/** `optim`: optimizers, clipping, schedules. */
export { type AdamW, adamW, type AdamWOptions, type AdamWState } from "./adamw.ts";
export { clipByGlobalNorm, globalNorm } from "./clip.ts";
export type { ParameterGroup } from "./groups.ts";
export type { Decay, Overrides, Rate, State } from "./optimizer.ts";
export { constant, cosine, type Course, linear, oneCycle, type Schedule, type WarmUp, wsd } from "./schedule.ts";
export { sgd, type Sgd, type SgdOptions, type SgdState } from "./sgd.ts";
