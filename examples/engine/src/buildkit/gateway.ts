/** BuildKit's LLBBridge service: a client that runs a frontend, asks for solutions, and chooses the result. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError, type ServiceImpl } from '@connectrpc/connect';
import { formatPlatform } from '@tare/image-spec';

import { buildLayers } from '../builder/in-engine/parts.ts';
import type { Solved } from '../builder/solve.ts';
import { withStageRoot } from '../builder/state.ts';
import { toConnectError, type ActiveBuild } from './builds.ts';
import type { ServiceParts } from './control.ts';
import type { LLBBridge, Result, ResultSchema } from './gen/gateway_pb.ts';
import { StatSchema, type Stat } from './gen/session_pb.ts';
import { toGoMode } from './wire/go-mode.ts';
import { buildIdOf } from './build-id.ts';
import { workerRecord } from './worker.ts';

/** What this engine's frontend can do, in BuildKit's names. */
const CAPABILITIES = [
  'solve.base',
  'solve.inlinereturn',
  'resolveimage',
  'readfile',
  'return',
  'returnmap',
  'readdir',
  'statfile',
  'importcaches',
  'proto.refarray',
  'frontend.inputs',
  'frontend.caps',
  'gateway.solve.metadata',
  'gateway.solve.evaluate',
  'gateway.warnings',
  'frontend.subrequest',
];

/** A whole file, when no range is given, is at most this. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

export function gatewayService({ parts, builds, worker }: ServiceParts): ServiceImpl<typeof LLBBridge> {
  const rootParts = { layers: buildLayers(parts), trees: parts.trees };
  const inResult = async <T>(build: ActiveBuild, ref: string, work: (root: string) => T): Promise<T> => {
    const { state } = build.result(ref);
    try {
      return await withStageRoot(rootParts, state.chain.at(-1), (root) => Promise.resolve(work(root)));
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      throw missing ? new ConnectError((error as Error).message, Code.NotFound) : toConnectError(error);
    }
  };
  const stat = (root: string, path: string, name: string): Stat => {
    const { mode, size, mtimeNs, linkName = '' } = parts.trees.stat(root, path);
    return create(StatSchema, {
      path: name,
      mode: toGoMode(mode),
      size: BigInt(size),
      modTime: mtimeNs,
      linkname: linkName,
    });
  };
  return {
    ping: () => ({
      frontendApiCaps: CAPABILITIES.map((id) => ({ id, enabled: true })),
      workers: [workerRecord(worker)],
    }),
    async solve({ frontend, frontendOpt, definition, allowResultReturn }, context) {
      const build = await builds.get(buildIdOf(context), context.signal);
      // an empty graph is an empty result
      const nothing = frontend === '' && (definition?.def.length ?? 0) === 0;
      if (nothing) return { result: {} };
      try {
        if ('requestid' in frontendOpt) {
          return { result: { metadata: await build.ask(frontend, frontendOpt) } };
        }
        const result = await build.solve(frontend, frontendOpt);
        const solved = result.ids.map((id) => ({ id, state: build.result(id).state }));
        if (result.byPlatform) return { result: resultOfPlatforms(solved) };
        const [{ id, state }] = solved as [Identified];
        if (!allowResultReturn) return { ref: id };
        return {
          result: {
            result: { case: 'ref', value: { id } },
            metadata: { 'containerimage.config': configOf(state) },
          },
        };
      } catch (error) {
        throw toConnectError(error);
      }
    },
    async return({ result, error }, context) {
      const build = await builds.get(buildIdOf(context), context.signal);
      if (error) build.fail(error.message, error.code as Code);
      else {
        const ids = chosenIds(result?.result);
        const byPlatform = result?.result.case === 'refs';
        build.returned.resolve(ids.length === 0 ? undefined : { ids, byPlatform });
      }
      return {};
    },
    async readFile({ ref, filePath, range }, context) {
      const build = await builds.get(buildIdOf(context), context.signal);
      const offset = Number(range?.offset ?? 0);
      const length = Number(range?.length ?? 0) || MAX_FILE_BYTES;
      const data = await inResult(build, ref, (root) =>
        parts.trees.read(root, `/${filePath}`, offset + length).subarray(offset),
      );
      return { data: Uint8Array.from(data) };
    },
    async readDir({ ref, dirPath }, context) {
      const build = await builds.get(buildIdOf(context), context.signal);
      const entries = await inResult(build, ref, (root) =>
        parts.trees
          .names(root, `/${dirPath}`)
          .sort()
          .map((name) => stat(root, `/${dirPath}/${name}`, name)),
      );
      return { entries };
    },
    async statFile({ ref, path }, context) {
      const build = await builds.get(buildIdOf(context), context.signal);
      return { stat: await inResult(build, ref, (root) => stat(root, `/${path}`, path)) };
    },
    // everything is built when it is solved
    async evaluate({ ref }, context) {
      const build = await builds.get(buildIdOf(context), context.signal);
      build.result(ref);
      return {};
    },
    resolveImageConfig({ ref }) {
      const image = parts.images.resolve(ref);
      return { digest: image.id, config: Buffer.from(JSON.stringify(image.config)), ref };
    },
    inputs: () => ({}),
    async warn({ short }, context) {
      const build = await builds.get(buildIdOf(context), context.signal);
      build.progress.warn(Buffer.from(short).toString('utf8'));
      return {};
    },
  };
}

type Identified = { id: string; state: Solved['state'] };

/** Results by their platforms, as clients hand them back. */
function resultOfPlatforms(solved: readonly Identified[]): MessageInitShape<typeof ResultSchema> {
  const keyed = solved.map(({ id, state }) => ({ key: formatPlatform(state.platform), id, state }));
  const platforms = keyed.map(({ key, state }) => ({ ID: key, Platform: state.platform }));
  return {
    result: {
      case: 'refs',
      value: { refs: Object.fromEntries(keyed.map(({ key, id }) => [key, { id }])) },
    },
    metadata: {
      'refs.platforms': json({ Platforms: platforms }),
      ...Object.fromEntries(
        keyed.map(({ key, state }) => [`containerimage.config/${key}`, configOf(state)] as const),
      ),
    },
  };
}

function configOf(state: Solved['state']): Uint8Array<ArrayBuffer> {
  return json({ ...state.platform, config: state.config });
}

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(JSON.stringify(value)));
}

function chosenIds(result: Result['result'] | undefined): string[] {
  switch (result?.case) {
    case 'ref':
      return result.value.id === '' ? [] : [result.value.id];
    case 'refDeprecated':
      return result.value === '' ? [] : [result.value];
    case 'refs':
      return Object.values(result.value.refs).map(({ id }) => id);
    default:
      return [];
  }
}
