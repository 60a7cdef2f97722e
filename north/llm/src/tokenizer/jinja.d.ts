/** The part of @huggingface/jinja that is used. Its own declarations do not resolve under Node's rules for modules. */

export declare class Template {
  /** @throws Error (`SyntaxError` among others) if the text is no template */
  constructor(template: string);
  /** @throws Error if the template cannot be run on the values, or raises an exception itself */
  render(items: Record<string, unknown>): string;
}
