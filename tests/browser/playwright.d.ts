/** The part of playwright-core that the tests use. Its own declarations need the types of the browser, a thousand names that must
 *  not be in reach of everything else that is checked with the tests. */

export interface Worker {
  url(): string;
}

export interface Page {
  on(event: "crash", listener: () => void): void;
  on(event: "pageerror", listener: (error: Error) => void): void;
  on(event: "console", listener: (message: { type(): string; text(): string }) => void): void;
  goto(url: string): Promise<unknown>;
  exposeFunction<A extends unknown[]>(name: string, body: (...args: A) => unknown): Promise<unknown>;
  addInitScript(script: string): Promise<unknown>;
  evaluate(expression: string): Promise<unknown>;
  waitForFunction(expression: string, argument?: undefined, options?: { timeout?: number }): Promise<unknown>;
  screenshot(options: { path: string; fullPage?: boolean }): Promise<unknown>;
  setInputFiles(selector: string, files: readonly string[]): Promise<void>;
  readonly mouse: {
    move(x: number, y: number): Promise<void>;
    down(): Promise<void>;
    up(): Promise<void>;
  };
  readonly keyboard: { press(key: string): Promise<void> };
  setViewportSize(size: { width: number; height: number }): Promise<void>;
  workers(): readonly Worker[];
}

export interface BrowserContext {
  newPage(): Promise<Page>;
  close(): Promise<void>;
}

export interface Browser {
  newContext(options?: {
    colorScheme?: "light" | "dark";
    viewport?: { width: number; height: number };
    offline?: boolean;
  }): Promise<BrowserContext>;
  close(): Promise<void>;
}

export declare const chromium: {
  launch(options: { executablePath: string; headless: boolean; args: readonly string[] }): Promise<Browser>;
};
