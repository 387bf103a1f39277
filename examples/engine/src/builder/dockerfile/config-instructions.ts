/** The instructions that change nothing but an image's config: what `docker commit --change` takes, too. Pure. */
import type { ContainerConfig, Healthcheck } from '@tare/image-spec';
import { posix } from 'node:path';

import { parseDuration } from '../../time.ts';
import { DockerfileError } from './errors.ts';
import { jsonStrings, type Instruction } from './parser.ts';
import { expandText, expandWord, splitWords, type ExpandOptions, type Lookup } from './words.ts';

/** How words are read: variables, and the escape character. */
export interface WordContext {
  lookup: Lookup;
  escape: string;
  onUnset?: (name: string) => void;
}

/** The shell of shell forms, unless SHELL says otherwise. */
export const DEFAULT_SHELL: readonly string[] = ['/bin/sh', '-c'];

/** Instructions that {@link applyToConfig} knows. */
export const CONFIG_KEYWORDS: ReadonlySet<string> = new Set([
  'CMD',
  'ENTRYPOINT',
  'ENV',
  'EXPOSE',
  'HEALTHCHECK',
  'LABEL',
  'ONBUILD',
  'SHELL',
  'STOPSIGNAL',
  'USER',
  'VOLUME',
  'WORKDIR',
]);

/** What in an image's config instructions of one stage have set themselves: an inherited CMD dies with a new ENTRYPOINT. */
export interface StageMarks {
  cmdSet: boolean;
}

/** Applies one instruction to `config`. @throws {DockerfileError} with the instruction's line */
export function applyToConfig(
  config: ContainerConfig,
  instruction: Instruction,
  words: WordContext,
  marks: StageMarks,
): void {
  const { keyword } = instruction;
  const expand = (word: string): string => expandIn(instruction, word, words);
  switch (keyword) {
    case 'CMD':
      config.Cmd = command(instruction, config);
      marks.cmdSet = true;
      return;
    case 'ENTRYPOINT':
      config.Entrypoint = command(instruction, config);
      if (!marks.cmdSet) delete config.Cmd;
      return;
    case 'ENV':
      for (const [name, value] of nameValues(instruction, words))
        config.Env = withEnv(config.Env, name, value);
      return;
    case 'LABEL':
      config.Labels = { ...config.Labels, ...Object.fromEntries(nameValues(instruction, words)) };
      return;
    case 'EXPOSE':
      for (const word of required(instruction, splitWords(instruction.args, words.escape))) {
        for (const port of exposedPorts(instruction, expand(word))) {
          config.ExposedPorts = { ...config.ExposedPorts, [port]: {} };
        }
      }
      return;
    case 'VOLUME':
      for (const word of required(
        instruction,
        instruction.json ?? splitWords(instruction.args, words.escape),
      )) {
        const path = expand(word).trim();
        if (path === '')
          throw new DockerfileError('VOLUME specified can not be an empty string', instruction);
        config.Volumes = { ...config.Volumes, [path]: {} };
      }
      return;
    case 'USER':
      config.User = expand(single(instruction));
      return;
    case 'WORKDIR':
      config.WorkingDir = workingDirectory(config.WorkingDir, expand(single(instruction)));
      return;
    case 'STOPSIGNAL':
      config.StopSignal = expand(single(instruction));
      return;
    case 'SHELL':
      if (!instruction.json?.length) {
        throw new DockerfileError('SHELL requires the arguments to be in JSON form', instruction);
      }
      config.Shell = [...instruction.json];
      return;
    case 'ONBUILD':
      config.OnBuild = [...(config.OnBuild ?? []), trigger(instruction)];
      return;
    case 'HEALTHCHECK':
      config.Healthcheck = healthcheck(instruction);
      return;
    default:
      throw new DockerfileError(`${keyword} does not change the config`, instruction);
  }
}

/** Expands one word of an instruction. */
export function expandIn(instruction: Instruction, word: string, words: WordContext): string {
  return expanding(instruction, words, (options) => expandWord(word, words.lookup, options));
}

/** Expands the text of a here-document. */
export function expandTextIn(instruction: Instruction, text: string, words: WordContext): string {
  return expanding(instruction, words, (options) => expandText(text, words.lookup, options));
}

function expanding(
  instruction: Instruction,
  { escape, onUnset }: WordContext,
  expand: (options: ExpandOptions) => string,
): string {
  try {
    return expand({ escape, ...(onUnset ? { onUnset } : {}) });
  } catch (error) {
    throw new DockerfileError((error as Error).message, instruction, { cause: error });
  }
}

/** `NAME=value` pairs, or the one pair of the old form `NAME the rest of the line`, expanded. */
export function nameValues(instruction: Instruction, words: WordContext): [string, string][] {
  const { keyword, args } = instruction;
  const parts = required(instruction, splitWords(args, words.escape));
  if (!parts[0]!.includes('=')) {
    const [, name = '', rest] = /^(\S+)\s+(.*)$/s.exec(args.trim()) ?? [];
    if (rest === undefined) throw new DockerfileError(`${keyword} must have two arguments`, instruction);
    return [[expandIn(instruction, name, words), expandIn(instruction, rest, words)]];
  }
  return parts.map((part) => {
    const at = part.indexOf('=');
    if (at < 0) {
      throw new DockerfileError(
        `Syntax error - can't find = in ${JSON.stringify(part)}. Must be of the form: name=value`,
        instruction,
      );
    }
    const name = expandIn(instruction, part.slice(0, at), words);
    if (name === '') throw new DockerfileError(`${keyword} names can not be blank`, instruction);
    return [name, expandIn(instruction, part.slice(at + 1), words)];
  });
}

/** `list` with `name=value`, in the place of an older value. */
export function withEnv(list: readonly string[] | undefined, name: string, value: string): string[] {
  const entry = `${name}=${value}`;
  const result = [...(list ?? [])];
  const at = result.findIndex((one) => one.split('=', 1)[0] === name);
  if (at < 0) result.push(entry);
  else result[at] = entry;
  return result;
}

/** Where `path` leads from `current`. */
export function workingDirectory(current: string | undefined, path: string): string {
  const joined = posix.resolve('/', current ?? '/', path);
  return joined === '' ? '/' : joined;
}

/** The command line of a shell or exec form. */
export function command(
  instruction: Instruction,
  config: ContainerConfig,
  text = instruction.args,
): string[] {
  if (instruction.json !== undefined) return [...instruction.json];
  return text === '' ? [] : [...(config.Shell ?? DEFAULT_SHELL), text];
}

function required(instruction: Instruction, words: readonly string[]): readonly string[] {
  if (words.length > 0) return words;
  throw new DockerfileError(`${instruction.keyword} requires at least one argument`, instruction);
}

function single(instruction: Instruction): string {
  const text = instruction.args.trim();
  if (text === '')
    throw new DockerfileError(`${instruction.keyword} requires exactly one argument`, instruction);
  return text;
}

function exposedPorts(instruction: Instruction, text: string): string[] {
  const [, from = '', to = from, protocol = 'tcp'] =
    /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(text) ?? [];
  const [first, last] = [Number(from), Number(to)];
  if (from === '' || last < first || last > 65_535) {
    throw new DockerfileError(
      `Invalid containerPort: ${text}: expected a port or range from 0 to 65535, with /tcp, /udp or /sctp`,
      instruction,
    );
  }
  return Array.from({ length: last - first + 1 }, (_, i) => `${first + i}/${protocol.toLowerCase()}`);
}

/** Never as triggers: they would run before, or instead of, the child's own first instruction. */
const NO_TRIGGERS = new Set(['ONBUILD', 'FROM', 'MAINTAINER']);

function trigger(instruction: Instruction): string {
  const text = single(instruction);
  const keyword = /^\S+/.exec(text)![0].toUpperCase();
  if (keyword === 'ONBUILD') {
    throw new DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", instruction);
  }
  if (NO_TRIGGERS.has(keyword)) {
    throw new DockerfileError(`${keyword} isn't allowed as an ONBUILD trigger`, instruction);
  }
  return text;
}

const DURATIONS = {
  interval: 'Interval',
  timeout: 'Timeout',
  'start-period': 'StartPeriod',
  'start-interval': 'StartInterval',
} as const;

function healthcheck(instruction: Instruction): Healthcheck {
  const { args, flags } = instruction;
  const [, kind = '', rest = ''] = /^(\S+)\s*(.*)$/s.exec(args.trim()) ?? [];
  if (kind.toUpperCase() === 'NONE') {
    if (rest !== '') throw new DockerfileError('HEALTHCHECK NONE takes no arguments', instruction);
    return { Test: ['NONE'] };
  }
  if (kind.toUpperCase() !== 'CMD') {
    throw new DockerfileError(
      `Unknown type ${JSON.stringify(kind)} in HEALTHCHECK (try CMD or NONE)`,
      instruction,
    );
  }
  if (rest === '') throw new DockerfileError('Missing command after HEALTHCHECK CMD', instruction);
  const json = jsonStrings(rest);
  const result: Healthcheck = { Test: json ? ['CMD', ...json] : ['CMD-SHELL', rest] };
  for (const { name, value = '' } of flags) {
    if (name === 'retries') {
      if (!/^\d{1,9}$/.test(value)) {
        throw new DockerfileError(`--retries cannot be ${JSON.stringify(value)}`, instruction);
      }
      result.Retries = Number(value);
      continue;
    }
    const field = Object.hasOwn(DURATIONS, name) ? DURATIONS[name as keyof typeof DURATIONS] : undefined;
    if (field === undefined) throw new DockerfileError(`unknown flag: --${name}`, instruction);
    const ns = parseDuration(value);
    if (ns === undefined || (ns !== 0n && ns < 1_000_000n)) {
      throw new DockerfileError(
        `--${name}: invalid duration ${JSON.stringify(value)}: write 30s or 1m30s, at least 1ms`,
        instruction,
      );
    }
    result[field] = Number(ns);
  }
  return result;
}
