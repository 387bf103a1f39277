/** Warnings that registries send with their answers. @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#warnings */
import { scrub } from './redact.ts';

/** Something a registry wants its users to know, for example that a repository will go away. */
export interface RegistryWarning {
  /** With its port. */
  host: string;
  text: string;
}

/** Warnings told so far are remembered up to this number. */
const MAX_REMEMBERED = 1_000;

/** Tells every warning once. */
export class Warnings {
  readonly #onWarning: ((warning: RegistryWarning) => void) | undefined;
  readonly #told = new Set<string>();

  constructor(onWarning: ((warning: RegistryWarning) => void) | undefined) {
    this.#onWarning = onWarning;
  }

  /** Looks at the `Warning` headers of an answer of `host`. */
  read(host: string, header: string | string[] | undefined): void {
    if (header === undefined || this.#onWarning === undefined) return;
    const lines = [header]
      .flat()
      .join(', ')
      .slice(0, 8 * 1024);
    // the one form that the specification has clients tell of
    for (const [, quoted] of lines.matchAll(/299 - "((?:[^"\\]|\\.)*)"/g)) {
      const text = scrub(quoted!.replace(/\\(.)/g, '$1'), []);
      const key = `${host} ${text}`;
      if (this.#told.has(key) || this.#told.size >= MAX_REMEMBERED) continue;
      this.#told.add(key);
      this.#onWarning({ host, text });
    }
  }
}
