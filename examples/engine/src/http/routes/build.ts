/** `POST /build` as the classic builder spoke it, and the build cache. */
import { familiarReference, parsePlatform, withDefaultTag } from '@tare/image-spec';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';

import { cacheRecordType, type PruneRequest } from '../../builder/cache.ts';
import { lintBuild, planBuild, warningsText } from '../../builder/checks.ts';
import { classicOutput } from '../../builder/classic-output.ts';
import { openContext, openGitContext } from '../../builder/context.ts';
import { DockerfileError } from '../../builder/dockerfile/errors.ts';
import { parseGitReference } from '../../builder/git.ts';
import { RunFailed } from '../../builder/run-step.ts';
import { solve } from '../../builder/solve.ts';
import { imageBases, imageCaches } from '../../builder/in-engine/bases.ts';
import { saveImage, solverParts, type BuildParts } from '../../builder/in-engine/parts.ts';
import type { BuildRequest, RunLimits } from '../../builder/request.ts';
import { hostConfigSchema } from '../../containers/host-config.ts';
import { download } from '../../download.ts';
import { EngineError, invalid } from '../../errors.ts';
import { parseTagParameters } from '../../images/names.ts';
import type { Job } from '../../jobs/job.ts';
import type { RegistryAuth } from '../../images/remote.ts';
import type { RequestContext } from '../context.ts';
import { decodeJson } from '../json.ts';
import { decodeRegistryConfig } from '../registry-auth.ts';
import type { Route } from '../route.ts';
import { encodeProgress, type ProgressMessage } from '../streams.ts';

/** The end-points. */
export function buildRoutes(parts: BuildParts): Route[] {
  const running = new Map<string, Job>();
  return [
    {
      method: 'POST',
      path: '/build',
      job: 'image.build',
      cancelOnDisconnect: true,
      handler: async (context) => {
        const { job, query } = context;
        const id = query.get('buildid') ?? '';
        if (id !== '') running.set(id, job);
        try {
          await build(context, parts);
        } finally {
          if (running.get(id) === job) running.delete(id);
        }
      },
    },
    {
      method: 'POST',
      path: '/build/cancel',
      handler: (context) => {
        const id = context.query.get('id') ?? '';
        if (id === '') throw invalid('build ID not provided');
        // one that is over, or never was, is as cancelled as can be: dockerd's answer
        running.get(id)?.cancel();
        context.empty(200);
      },
    },
    {
      method: 'POST',
      path: '/build/prune',
      job: 'build.prune',
      handler: async (context) => {
        const removed = await parts.cache.prune(pruneRequest(context));
        context.json(200, {
          CachesDeleted: removed.length > 0 ? removed.map(({ id }) => id) : null,
          SpaceReclaimed: removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
        });
      },
    },
  ];
}

/** The parameters of `POST /build/prune`. */
function pruneRequest({ query }: RequestContext): PruneRequest {
  const filters = query.filters([
    'until',
    'unused-for',
    'id',
    'type',
    'description',
    'inuse',
    'shared',
    'private',
    // system prune says them to every kind; cache has no labels
    'label',
    'label!',
  ]);
  const untilNs = filters.timestamp('until') ?? filters.timestamp('unused-for');
  const keepBytes = ['reserved-space', 'max-used-space', 'keep-storage']
    .map((name) => query.int(name, 0))
    .find((bytes) => bytes > 0);
  return {
    keepBytes,
    usedBefore: untilNs === undefined ? undefined : new Date(Number(untilNs / 1_000_000n)),
    matches: (record) =>
      filters.any('id', (id) => record.id.startsWith(id)) &&
      filters.any('type', (type) => cacheRecordType(record) === type) &&
      filters.any('description', (text) => record.description.includes(text)) &&
      (filters.bool('shared') ?? record.shared) === record.shared &&
      (filters.bool('private') ?? !record.shared) === !record.shared,
  };
}

const argsSchema = z.record(z.string(), z.string().nullable());
const labelsSchema = z.record(z.string(), z.string());

async function build(context: RequestContext, parts: BuildParts): Promise<void> {
  const { query, job } = context;
  if (query.get('version') === '2') {
    throw invalid('this engine has no BuildKit: build with DOCKER_BUILDKIT=0');
  }
  const remote = query.get('remote') ?? '';
  const names = query
    .getAll('t')
    .filter((name) => name !== '')
    .map((name) => parseTagParameters(name, ''));
  const platform = query.get('platform') ?? '';
  const auth = credentialsOf(context);
  const request: Omit<BuildRequest, 'dockerfile' | 'context'> = {
    target: query.get('target') ?? '',
    buildArgs: json(context, 'buildargs', argsSchema) ?? {},
    labels: json(context, 'labels', labelsSchema) ?? {},
    platform: platform === '' ? undefined : parsePlatform(platform),
    noCache: query.bool('nocache'),
    pull: query.bool('pull'),
    // as dockerd: only images that are here
    cacheFrom: imageCaches(parts, json(context, 'cachefrom', z.array(z.string())) ?? [], {
      pull: false,
      auth,
    }),
    // whoever can ask for that network for every command has allowed it
    entitlements: query.get('networkmode') === 'host' ? (['network.host'] as const) : [],
    limits: limitsOf(context),
    auth,
  };
  if (names[0]) job.about(query.get('t')!);
  const quiet = query.bool('q');
  let reply: ReturnType<RequestContext['stream']> | undefined;
  const send = (message: ProgressMessage): void => {
    reply ??= context.stream();
    void reply.write(encodeProgress(message));
  };
  const write = (text: string): void => {
    if (!quiet) send({ stream: text });
    const line = text.trimEnd();
    if (line !== '') job.report({ message: line });
  };
  try {
    // the files go before the client hears that it is over
    const where = {
      trees: parts.trees,
      syscalls: parts.syscalls,
      hasher: parts.hasher,
      directory: join(parts.directory, 'contexts', randomBytes(16).toString('hex')),
      dockerfile: query.get('dockerfile') || 'Dockerfile',
      signal: job.signal,
    };
    const git = parseGitReference(remote);
    await using files = git
      ? await openGitContext(git, where)
      : await openContext(await source(context, remote), where);
    const { dockerfile, rules } = files;
    const ignores = () => Promise.resolve(rules && ((path: string) => rules.ignores(path)));
    if (query.bool('check')) {
      const whole = { ...request, dockerfile, ignores };
      const planned = planBuild(whole);
      const warnings = await lintBuild(imageBases(parts), whole, planned);
      send({ stream: warningsText(warnings, where.dockerfile, dockerfile) });
      send({ aux: { Warnings: warnings.length } });
      return void reply!.end();
    }
    const output = classicOutput(dockerfile, write);
    await using solved = await solve(
      solverParts(parts, job),
      { ...request, dockerfile, ignores, context: () => Promise.resolve(files) },
      { output, id: job.id, signal: job.signal },
    );
    const id = await saveImage(parts, solved, names, job.signal);
    if (solved.unusedArgs.length > 0) {
      write(`[Warning] One or more build-args [${solved.unusedArgs.join(' ')}] were not consumed\n`);
    }
    write(`Successfully built ${id.slice('sha256:'.length, 'sha256:'.length + 12)}\n`);
    for (const name of names) write(`Successfully tagged ${familiarReference(withDefaultTag(name))}\n`);
    if (context.speaks('1.30')) send({ aux: { ID: id } });
    if (quiet) send({ stream: `${id}\n` });
  } catch (error) {
    throw buildError(error);
  }
  (reply ?? context.stream()).end();
}

/** Before the first step it is the reply's status, later the last message of the stream. */
function buildError(error: unknown): unknown {
  if (error instanceof RunFailed) {
    return new EngineError('INVALID', error.message, { cause: error, detailCode: error.exitCode });
  }
  return error instanceof DockerfileError ? invalid(error.message, { cause: error }) : error;
}

/** The archive of the context: the body, or what a remote address gives. */
async function source(context: RequestContext, remote: string): Promise<AsyncIterable<Uint8Array>> {
  if (remote === '' || remote === 'client-session') return context.bodyStream();
  if (!/^https?:\/\//.test(remote)) {
    throw invalid(`${remote} cannot be built from: addresses of archives and of git repositories can`);
  }
  return (await download(remote, context.job.signal)).body;
}

function json<T>(context: RequestContext, name: string, schema: z.ZodType<T>): T | undefined {
  const text = context.query.get(name) ?? '';
  if (text === '' || text === 'null') return undefined;
  try {
    return decodeJson(text, schema);
  } catch (error) {
    throw invalid(`error reading ${name}: ${(error as Error).message}`, { cause: error });
  }
}

function limitsOf(context: RequestContext): RunLimits {
  const { query } = context;
  const number = (name: string): number | undefined => query.int(name, 0) || undefined;
  const text = (name: string): string | undefined => query.get(name) || undefined;
  const network = text('networkmode');
  return hostConfigSchema.parse({
    Memory: number('memory'),
    MemorySwap: number('memswap'),
    CpuShares: number('cpushares'),
    CpuPeriod: number('cpuperiod'),
    CpuQuota: number('cpuquota'),
    CpusetCpus: text('cpusetcpus'),
    CpusetMems: text('cpusetmems'),
    CgroupParent: text('cgroupparent'),
    ShmSize: number('shmsize'),
    Ulimits: json(context, 'ulimits', z.array(z.unknown())),
    ExtraHosts: text('extrahosts')?.split(','),
    NetworkMode: network === 'default' ? undefined : network,
  });
}

function credentialsOf(context: RequestContext): (registry: string) => Promise<RegistryAuth | undefined> {
  const known = decodeRegistryConfig(context.header('x-registry-config'));
  return (registry) => Promise.resolve(known[registry]);
}
