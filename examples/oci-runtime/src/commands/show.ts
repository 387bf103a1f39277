/** What is asked about containers: state, list, ps, features; and the template of a spec. */
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { features as runtimeFeatures } from '@tare/runtime-native';
import { defaultSpec } from '@tare/runtime-native/spec';

import { namedContainer } from '../command.ts';
import type { Command } from '../command.ts';
import { CommandError } from '../errors.ts';
import { print } from '../log.ts';
import { owner, stateOf } from '../state.ts';
import type { StateDocument } from '../state.ts';

export const state: Command = {
  usage: '<container-id>',
  summary: 'output the state of a container',
  options: {},
  takes: { exact: 1 },
  async run(context, args) {
    await using container = await namedContainer(context, args);
    print(1, JSON.stringify(await stateOf(container), undefined, 2));
  },
};

export const list: Command = {
  usage: '[command options]',
  summary: 'lists containers started with the given root',
  options: { format: { type: 'string', short: 'f' }, quiet: { type: 'boolean', short: 'q' } },
  takes: { exact: 0 },
  async run({ runtime }, args) {
    const format = args.text('format') ?? 'table';
    if (format !== 'table' && format !== 'json') throw new CommandError('invalid format option');
    const found: StateDocument[] = [];
    for (const { id, status } of await runtime.list()) {
      // half made, and not to be looked at before it is whole
      if (status === 'creating') continue;
      await using container = await runtime.load(id);
      found.push(await stateOf(container, owner()));
    }
    found.sort((a, b) => (a.id < b.id ? -1 : 1));
    if (args.flag('quiet')) print(1, found.map(({ id }) => `${id}\n`).join(''));
    else if (format === 'json') print(1, `${found.length > 0 ? JSON.stringify(found) : 'null'}\n`);
    else print(1, table(found));
  },
};

/** Columns of at least twelve characters, three apart. */
function table(states: readonly StateDocument[]): string {
  const rows = [
    ['ID', 'PID', 'STATUS', 'BUNDLE', 'CREATED', 'OWNER'],
    ...states.map((one) => [one.id, String(one.pid), one.status, one.bundle, one.created, one.owner]),
  ];
  const widths = rows[0]!.map((_, i) => Math.max(12, ...rows.map((row) => row[i]!.length + 3)));
  const line = (row: string[]): string =>
    row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!))).join('');
  return `${rows.map(line).join('\n')}\n`;
}

export const ps: Command = {
  usage: '[command options] <container-id> [ps options]',
  summary: 'displays the processes running inside a container',
  options: { format: { type: 'string', short: 'f' } },
  takes: { min: 1 },
  passes: true,
  async run(context, args) {
    await using container = await namedContainer(context, args);
    const pids = await container.pids();
    const format = args.text('format') ?? 'table';
    if (format === 'json') return print(1, `${JSON.stringify(pids)}\n`);
    if (format !== 'table') throw new CommandError(`invalid format option`);
    const [, ...options] = args.positionals;
    print(1, processTable(options.length > 0 ? options : ['-ef'], new Set(pids)));
  },
};

/** The machine's own `ps`, and of its lines those of the container. */
function processTable(options: string[], pids: ReadonlySet<number>): string {
  let output: string;
  try {
    output = execFileSync('ps', options, { encoding: 'utf8', maxBuffer: 64 << 20 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new CommandError('exec: "ps": executable file not found in $PATH', { cause: error });
    throw error;
  }
  const [head = '', ...lines] = output.trimEnd().split('\n');
  const column = head.trim().split(/\s+/).indexOf('PID');
  if (column < 0) throw new CommandError("couldn't find PID field in ps output");
  const own = lines.filter((line) => pids.has(Number(line.trim().split(/\s+/)[column])));
  return `${[head, ...own].join('\n')}\n`;
}

export const features: Command = {
  usage: '',
  summary: 'show the enabled features',
  options: {},
  takes: { exact: 0 },
  async run() {
    print(1, `${JSON.stringify(runtimeFeatures(), undefined, 2)}\n`);
  },
};

export const spec: Command = {
  usage: '[command options]',
  summary: 'create a new specification file',
  options: { bundle: { type: 'string', short: 'b' }, rootless: { type: 'boolean' } },
  takes: { exact: 0 },
  async run(_context, args) {
    const path = join(args.text('bundle') ?? '.', 'config.json');
    if (existsSync(path)) throw new CommandError('File config.json exists. Remove it first');
    const document = defaultSpec(['sh']);
    document.process = { ...document.process!, terminal: true };
    document.root = { ...document.root!, readonly: true };
    document.hostname = 'tare';
    if (args.flag('rootless')) {
      document.linux!.namespaces!.push({ type: 'user' });
      document.linux!.uidMappings = [{ containerID: 0, hostID: process.getuid!(), size: 1 }];
      document.linux!.gidMappings = [{ containerID: 0, hostID: process.getgid!(), size: 1 }];
      delete document.linux!.resources;
    }
    writeFileSync(path, `${JSON.stringify(document, undefined, '\t')}\n`, { mode: 0o666 });
  },
};
