/** CNI plugins as programs: finding them, running one, and what they answer. See the CNI specification, version 1.0.0. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { NetworkError } from '@tare/netdriver';

/** One plugin's part of a network configuration. */
export interface CniPlugin {
  /** Name of the program. */
  type: string;
  /** What the runtime may tell it: `portMappings`, `ips`, `mac`. */
  capabilities?: Readonly<Record<string, boolean>>;
  [option: string]: unknown;
}

/** What ADD answers, as far as it is used here. */
export interface CniResult {
  interfaces?: { name: string; mac?: string; sandbox?: string }[];
  ips?: { address: string; gateway?: string; interface?: number }[];
  routes?: { dst: string; gw?: string }[];
}

/** What a plugin is run for. */
export interface CniCall {
  command: 'ADD' | 'DEL' | 'CHECK';
  containerId: string;
  sandbox: string;
  interfaceName: string;
}

/** Finds and runs plugins. */
export class CniPlugins {
  readonly #directories: readonly string[];

  constructor(directories: readonly string[]) {
    this.#directories = directories;
  }

  /**
   * The path of a plugin's program.
   *
   * @throws {NetworkError} `INVALID_CONFIG` for a type that is not the name of a file (CVE-2021-20206), `NOT_FOUND`
   */
  async find(type: string): Promise<string> {
    if (!/^[\w.-]+$/.test(type) || type === '.' || type === '..') {
      throw new NetworkError('INVALID_CONFIG', `CNI plugin type "${type}" is not the name of a program`);
    }
    for (const directory of this.#directories) {
      const path = join(directory, type);
      try {
        await access(path, constants.X_OK);
        return path;
      } catch {
        // not in this one
      }
    }
    throw new NetworkError(
      'NOT_FOUND',
      `there is no CNI plugin "${type}" in ${this.#directories.join(', ')}`,
    );
  }

  /**
   * Runs a plugin; its configuration goes in on stdin.
   *
   * @throws {NetworkError} `UNSUPPORTED` with the plugin's own words when it fails
   */
  async run(
    config: CniPlugin,
    { command, containerId, sandbox, interfaceName }: CniCall,
  ): Promise<CniResult> {
    const program = await this.find(config.type);
    const child = spawn(program, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
        CNI_COMMAND: command,
        CNI_CONTAINERID: containerId,
        CNI_NETNS: sandbox,
        CNI_IFNAME: interfaceName,
        CNI_PATH: this.#directories.join(':'),
      },
    });
    const [output, errors] = [collect(child.stdout), collect(child.stderr)];
    // one that ends without reading has said why
    child.stdin.on('error', () => undefined);
    child.stdin.end(JSON.stringify(config));
    const [code] = (await once(child, 'close')) as [number | null];
    const text = output();
    if (code === 0) return text.trim() === '' ? {} : (JSON.parse(text) as CniResult);
    throw new NetworkError(
      'UNSUPPORTED',
      `CNI plugin ${config.type} ${command}: ${reason(text) ?? (errors() || text)}`,
    );
  }
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString('utf8');
}

/** The message of an error result. */
function reason(text: string): string | undefined {
  try {
    const { msg, details } = JSON.parse(text) as { msg?: string; details?: string };
    return [msg, details].filter(Boolean).join(': ') || undefined;
  } catch {
    return undefined;
  }
}
