/**
 * Questions about a Dockerfile that need no build: `docker buildx build --check`, `--call` and `--print`.
 *
 * https://github.com/moby/buildkit: frontend/subrequests.
 */
import { Code, ConnectError } from '@connectrpc/connect';

import type { BuildRequest } from '../builder/request.ts';
import { lintBuild, planBuild, warningsText, type PlannedBuild } from '../builder/checks.ts';
import { DockerfileError, type Place } from '../builder/dockerfile/errors.ts';
import { excerpt, lastLineOf } from '../builder/dockerfile/excerpt.ts';
import { declaredArgs, type Stage } from '../builder/dockerfile/stages.ts';
import type { Bases } from '../builder/seams.ts';

/** What is asked about. */
export interface Question {
  bases: Pick<Bases, 'local'>;
  request: BuildRequest;
  filename: string;
}

/** An answer: for programs and for people. */
interface Answer {
  json: unknown;
  text: string;
  /** Of the client's command. */
  failed?: boolean;
}

interface Subrequest {
  description: string;
  version: string;
  answer(question: Question): Promise<Answer>;
}

const SUBREQUESTS: Readonly<Record<string, Subrequest>> = {
  'frontend.lint': {
    description: 'Lint source code for the current build target',
    version: '1.0.0',
    answer: lintAnswer,
  },
  'frontend.outline': {
    description: 'List all parameters current build target supports',
    version: '1.0.0',
    answer: (question) => Promise.resolve(outline(question)),
  },
  'frontend.targets': {
    description: 'List all targets current build supports',
    version: '1.0.0',
    answer: (question) => Promise.resolve(targets(question)),
  },
  'frontend.subrequests.describe': {
    description: 'List available subrequest types',
    version: '1.0.0',
    answer: () => Promise.resolve(describeAll()),
  },
};

/** Answers a question. @returns what clients find it under @throws {ConnectError} `Unimplemented` */
export async function answerSubrequest(
  name: string,
  question: () => Promise<Question>,
): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  const subrequest = Object.hasOwn(SUBREQUESTS, name) ? SUBREQUESTS[name] : undefined;
  if (!subrequest) throw new ConnectError(`unsupported request ${name}`, Code.Unimplemented);
  const { json, text, failed } = await subrequest.answer(await question());
  const bytes = (value: string): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(value));
  return {
    'result.json': bytes(JSON.stringify(json, undefined, 2)),
    'result.txt': bytes(text),
    version: bytes(subrequest.version),
    ...(failed === undefined ? {} : { 'result.statuscode': bytes(failed ? '1' : '0') }),
  };
}

async function lintAnswer({ bases, request, filename }: Question): Promise<Answer> {
  const { dockerfile } = request;
  const sources = [{ filename, language: 'Dockerfile', data: Buffer.from(dockerfile).toString('base64') }];
  let planned: PlannedBuild;
  try {
    planned = planBuild(request);
  } catch (error) {
    if (!(error instanceof DockerfileError)) throw error;
    const { message, place } = error;
    const lines = place === undefined ? '' : excerpt(filename, dockerfile, place);
    return {
      json: { warnings: [], sources, buildError: { message, location: locationOf(place) } },
      text: `\nERROR: ${message}\n${lines}`,
      failed: true,
    };
  }
  const warnings = await lintBuild(bases, request, planned);
  return {
    json: {
      warnings: warnings.map(({ rule, detail, place }) => ({
        ruleName: rule.name,
        description: rule.description,
        url: rule.url,
        detail,
        location: locationOf(place),
      })),
      sources,
    },
    text: warningsText(warnings, filename, dockerfile),
    failed: planned.settings.error && warnings.length > 0,
  };
}

function outline({ request, filename }: Question): Answer {
  const { plan, file, platformArgs } = planBuild(request);
  const stages = plan.needed.map((index) => plan.stages[index]!);
  const target = plan.stages[plan.target]!;
  const words = {
    escape: file.escape,
    lookup: (name: string) => plan.globalArgs.get(name) ?? platformArgs[name],
  };
  const firstFrom = file.instructions.findIndex(({ keyword }) => keyword === 'FROM');
  const declaring = [
    ...file.instructions.slice(0, firstFrom),
    ...stages.flatMap(({ instructions }) => instructions),
  ].filter(({ keyword }) => keyword === 'ARG');
  const args = declaring.flatMap((instruction) =>
    declaredArgs(instruction, words)
      .filter(({ name }) => !Object.hasOwn(platformArgs, name))
      .map(({ name, value }) => ({
        name,
        description: commentAbove(request.dockerfile, instruction, name),
        value: request.buildArgs[name] ?? value ?? plan.globalArgs.get(name) ?? '',
        location: locationOf(instruction),
      })),
  );
  const mounted = (type: string): { name: string; required: boolean; location: unknown }[] =>
    stages
      .flatMap(({ instructions }) => instructions)
      .flatMap((instruction) =>
        instruction.flags
          .filter(({ name, value = '' }) => name === 'mount' && value.split(',').includes(`type=${type}`))
          .map(({ value = '' }) => ({
            name: /(?:^|,)id=([^,]*)/.exec(value)?.[1] ?? 'default',
            required: /(?:^|,)required(?:=true)?(?:,|$)/.test(value),
            location: locationOf(instruction),
          })),
      );
  const [secrets, ssh] = [mounted('secret'), mounted('ssh')];
  const json = {
    name: target.name ?? '',
    description: descriptionOf(request.dockerfile, target),
    args,
    secrets,
    ssh,
    cache: mounted('cache').map(({ name: id, location }) => ({ ID: id, location })),
    sources: [Buffer.from(request.dockerfile).toString('base64')],
  };
  const rows = [
    ['BUILD ARG', 'VALUE', 'DESCRIPTION'],
    ...args.map(({ name, value, description }) => [name, value, description]),
  ];
  const lists = [
    ...(args.length > 0 ? [table(rows)] : []),
    ...(secrets.length > 0
      ? [
          table([
            ['SECRET', 'REQUIRED'],
            ...secrets.map(({ name, required }) => [name, required ? 'true' : '']),
          ]),
        ]
      : []),
    ...(ssh.length > 0
      ? [table([['SSH', 'REQUIRED'], ...ssh.map(({ name, required }) => [name, required ? 'true' : ''])])]
      : []),
  ];
  const head = `TARGET:      ${json.name || filename}\n`;
  const about = json.description === '' ? '' : `DESCRIPTION: ${json.description}\n`;
  return { json, text: [head + about, ...lists].join('\n') };
}

function targets({ request }: Question): Answer {
  const { plan } = planBuild(request);
  const list = plan.stages.map((stage) => {
    const { name, base, from, index } = stage;
    return {
      name: name ?? '',
      default: index === plan.target,
      description: descriptionOf(request.dockerfile, stage),
      base:
        base.kind === 'image'
          ? base.reference
          : base.kind === 'scratch'
            ? 'scratch'
            : (plan.stages[base.index]!.name ?? String(base.index)),
      platform: base.kind === 'image' ? (base.platform ?? '') : '',
      location: locationOf(from),
    };
  });
  const rows = list.map(({ name, default: isDefault, description }) => [
    `${name}${isDefault ? `${name === '' ? '' : ' '}(default)` : ''}`,
    description,
  ]);
  return {
    json: { targets: list, sources: [Buffer.from(request.dockerfile).toString('base64')] },
    text: table([['TARGET', 'DESCRIPTION'], ...rows.filter(([name]) => name !== '')]),
  };
}

function describeAll(): Answer {
  const json = Object.entries(SUBREQUESTS).map(([name, { version, description }]) => ({
    name,
    version,
    type: 'rpc',
    description,
    metadata: [{ name: 'result.json' }, { name: 'result.txt' }],
  }));
  const rows = json.map(({ name, version, description }) => [name, version, description]);
  return { json, text: table([['NAME', 'VERSION', 'DESCRIPTION'], ...rows]) };
}

/** The text of `# <name> …` right above an instruction. */
function commentAbove(dockerfile: string, { line }: Place, name: string): string {
  const above = dockerfile.split('\n')[line - 2] ?? '';
  const [, word, description = ''] = /^\s*#\s*(\S+)\s+(.*?)\s*$/.exec(above) ?? [];
  return word === name ? description : '';
}

function descriptionOf(dockerfile: string, { name, from }: Stage): string {
  return name === undefined ? '' : commentAbove(dockerfile, from, name);
}

function locationOf(place: Place | undefined): unknown {
  if (place === undefined) return undefined;
  return { ranges: [{ start: { line: place.line }, end: { line: lastLineOf(place) } }] };
}

/** Columns as wide as what is in them. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)) + 3);
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i]!))
          .join('')
          .trimEnd()}\n`,
    )
    .join('');
}
