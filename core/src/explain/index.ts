/** `sinan/explain`: what the compiler made of a function, and where its time goes. */
export { cost, type Cost } from "./cost.ts";
export { explain, type Explanation, type Section } from "./explain.ts";
export { attend } from "./process.ts";
export type { ChoiceReport, ScheduleReport } from "./kernels.ts";
export type { KernelReport, PassReport } from "./print.ts";
export type { Roofline } from "./roofline.ts";
export type { SourcePlace } from "./place.ts";
export {
  type KernelProfile,
  profile,
  type Profile,
  type ProfiledDevice,
  type ProfileReport,
  type Profiling,
  startProfile,
} from "./profile.ts";
export type { ProfileTextOptions } from "./profile-text.ts";
