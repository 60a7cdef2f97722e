/** Stop strings in text that comes in pieces. */

export interface StopScanner {
  /** What of the text so far can no longer become part of a stop string, and whether one was found: then it is the text before
   *  it, and the scanner is done. */
  push(text: string): { readonly text: string; readonly isStopped: boolean };
  /** What was held back. */
  end(): string;
}

/** Finds the stop string that is complete first, of those that end in one place the longest: the answer does not depend on how the
 *  text is cut into pieces. */
export function stopScanner(stops: readonly string[]): StopScanner {
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let held = "";
  return {
    push(piece) {
      const text = held + piece;
      for (let end = held.length + 1; end <= text.length; end++) {
        const found = stops.filter((stop) => text.endsWith(stop, end)).map((stop) => stop.length);
        if (found.length === 0) continue;
        held = "";
        return { text: text.slice(0, end - Math.max(...found)), isStopped: true };
      }
      let keep = Math.min(text.length, longest - 1);
      while (keep > 0 && !stops.some((stop) => stop.startsWith(text.slice(-keep)))) keep--;
      const cut = text.length - Math.max(0, keep);
      held = text.slice(cut);
      return { text: text.slice(0, cut), isStopped: false };
    },
    end() {
      const rest = held;
      held = "";
      return rest;
    },
  };
}
