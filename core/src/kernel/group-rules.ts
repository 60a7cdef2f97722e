/** The place of the rules by which a group's kernel does less than its function says (`compiler/tighten.ts`). They are speed alone: a
 *  device whose code generator takes loops adds them with `tightenGroups`, and a small page does without. */
import type { Fn } from "../ir/fn.ts";

export interface GroupRules {
  /** Whether the kernel has to find its first parameter where its result will be. */
  readonly isOver: (group: Fn) => boolean;
  /** The kernel of a group. */
  readonly lower: (group: Fn) => Fn;
}

let added: GroupRules | undefined;

export function addGroupRules(rules: GroupRules): void {
  added = rules;
}

export const groupRules = (): GroupRules | undefined => added;
