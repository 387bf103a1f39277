/** Manifest lists that are being put together, before they are pushed: kept where the docker CLI keeps them. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Descriptor } from '@tare/image-spec';

/** One manifest of a list. */
export interface ListedManifest {
  /** Canonical name, with a tag or digest. */
  Ref: string;
  /** With the platform that the list will have for it. */
  Descriptor: Descriptor;
  /** The manifest's bytes, base64. */
  Raw: string;
}

/** The lists of one configuration folder, by canonical name. */
export class ManifestLists {
  readonly #root: string;

  constructor(configFolder: string) {
    this.#root = join(configFolder, 'manifests');
  }

  has(list: string): boolean {
    return existsSync(this.#folder(list));
  }

  /** A list's manifests, in the order of their names. */
  all(list: string): ListedManifest[] {
    const folder = this.#folder(list);
    return readdirSync(folder)
      .sort()
      .map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as ListedManifest);
  }

  get(list: string, manifest: string): ListedManifest | undefined {
    const file = join(this.#folder(list), fileName(manifest));
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as ListedManifest) : undefined;
  }

  put(list: string, manifest: ListedManifest): void {
    mkdirSync(this.#folder(list), { recursive: true, mode: 0o755 });
    writeFileSync(join(this.#folder(list), fileName(manifest.Ref)), JSON.stringify(manifest));
  }

  remove(list: string): void {
    rmSync(this.#folder(list), { recursive: true, force: true });
  }

  #folder(list: string): string {
    return join(this.#root, fileName(list));
  }
}

/** As Docker names them. */
function fileName(name: string): string {
  return name.replaceAll(':', '-').replaceAll('/', '_');
}
