/** `--change` of commit and import: instructions applied to a config without a build. Pure. */
import type { ContainerConfig } from '@tare/image-spec';

import { invalid } from '../errors.ts';
import { applyToConfig, CONFIG_KEYWORDS } from './dockerfile/config-instructions.ts';
import { DockerfileError } from './dockerfile/errors.ts';
import { parseDockerfile } from './dockerfile/parser.ts';

/** Instructions of a build that are no changes of a finished image. */
const NOT_HERE = new Set(['SHELL']);

/** `config` with instructions applied. @throws {EngineError} `INVALID` naming the instruction */
export function applyChanges(config: ContainerConfig, changes: readonly string[]): ContainerConfig {
  const result: ContainerConfig = { ...config };
  const marks = { cmdSet: false };
  const variables = new Map((config.Env ?? []).map((entry) => splitOnce(entry)));
  try {
    const { instructions, escape } = parseDockerfile(changes.join('\n'));
    for (const instruction of instructions) {
      if (!CONFIG_KEYWORDS.has(instruction.keyword) || NOT_HERE.has(instruction.keyword)) {
        throw invalid(`${instruction.keyword.toLowerCase()} is not a valid change command`);
      }
      applyToConfig(result, instruction, { lookup: (name) => variables.get(name), escape }, marks);
      for (const entry of result.Env ?? []) variables.set(...splitOnce(entry));
    }
  } catch (error) {
    if (error instanceof DockerfileError) throw invalid(error.message, { cause: error });
    throw error;
  }
  return result;
}

function splitOnce(entry: string): [string, string] {
  const at = entry.indexOf('=');
  return at < 0 ? [entry, ''] : [entry.slice(0, at), entry.slice(at + 1)];
}
