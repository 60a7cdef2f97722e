/** What the page and its worker say to each other. */

export interface Settings {
  readonly text: string;
  readonly steps: number;
  /** Steps between two samples of text. */
  readonly sampleEvery: number;
}

/** Said by the page. */
export type Asked = { readonly ask: "start"; readonly settings: Settings } | { readonly ask: "stop" };

/** Told of a run. */
export type Told =
  | {
      readonly event: "start";
      readonly device: string;
      readonly threads: number;
      readonly parameters: number;
      /** Tokens of the text that it learns from, and how many different ones there are. */
      readonly tokens: number;
      readonly vocabulary: number;
    }
  /** `loss` in nats a token. */
  | { readonly event: "step"; readonly step: number; readonly loss: number; readonly tokensPerSecond: number }
  /** `heldOut` is the loss on text that it does not learn from. */
  | { readonly event: "sample"; readonly step: number; readonly heldOut: number; readonly text: string }
  | { readonly event: "done"; readonly step: number; readonly stopped: boolean };

/** Said by the worker. */
export type Answer = Told | { readonly event: "error"; readonly message: string };
