/** BuildKit's Control service: builds, their progress and the cache. */
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ServiceImpl } from '@connectrpc/connect';
import { once } from 'node:events';
import { cacheRecordType, type CacheRecord } from '../builder/cache.ts';
import { isEntitlement } from '../builder/request.ts';
import type { BuildParts } from '../builder/in-engine/parts.ts';
import type { Builds } from './builds.ts';
import { exportCache } from './caches.ts';
import { exportResult } from './exporters.ts';
import type { Control } from './gen/control_pb.ts';
import { workerRecord, type Worker } from './worker.ts';

/** What the services are made of. */
export interface ServiceParts {
  parts: BuildParts;
  builds: Builds;
  worker: Worker;
}

export function controlService({ parts, builds, worker }: ServiceParts): ServiceImpl<typeof Control> {
  return {
    listWorkers: () => ({ record: [workerRecord(worker)] }),
    info: () => ({ buildkitVersion: workerRecord(worker).buildkitVersion }),
    diskUsage: async () => ({ record: (await parts.cache.list()).map(usage) }),
    async *prune({ keepDuration, keepBytes }) {
      const usedBefore =
        keepDuration > 0n ? new Date(Date.now() - Number(keepDuration / 1_000_000n)) : undefined;
      yield* (await parts.cache.prune({ keepBytes: Number(keepBytes), usedBefore })).map(usage);
    },
    solve: ({ ref, session, frontend, frontendAttrs, exporters, cache, entitlements, ...old }, { signal }) =>
      builds.run(
        { ref, session, entitlements: entitlements.filter(isEntitlement), signal },
        async (build) => {
          const result =
            frontend === ''
              ? await aborting(build.returned.promise, build.signal)
              : await build.solve(frontend, frontendAttrs);
          const wanted =
            exporters.length > 0 || old.exporterDeprecated === ''
              ? exporters
              : [{ type: old.exporterDeprecated, attrs: old.exporterAttrsDeprecated }];
          const exporterResponse: Record<string, string> = {};
          if (result === undefined) return { exporterResponse };
          const results = result.ids.map((id) => build.result(id));
          const place = {
            parts,
            session: () => build.session(),
            output: build.progress,
            signal: build.signal,
          };
          for (const { type, attrs } of wanted) {
            const exported = exportResult({ type, attrs }, { results, byPlatform: result.byPlatform }, place);
            Object.assign(exporterResponse, await exported);
          }
          for (const { type, attrs } of cache?.exports ?? []) {
            Object.assign(exporterResponse, await exportCache({ type, attrs }, results, place));
          }
          return { exporterResponse };
        },
      ),
    async *status({ ref }, { signal }) {
      const progress = await builds.progress(ref, signal);
      yield* progress.follow(signal);
    },
    session() {
      throw new ConnectError('sessions are opened with POST /session', Code.Unimplemented);
    },
    // nothing is remembered of builds that have ended
    async *listenBuildHistory({ earlyExit }, { signal }) {
      if (!earlyExit && !signal.aborted) await once(signal, 'abort');
      yield* [];
    },
    updateBuildHistory() {
      throw new ConnectError('no history of builds is kept', Code.Unimplemented);
    },
  };
}

function usage(record: CacheRecord) {
  return {
    id: record.id.replace('sha256:', '').slice(0, 25),
    size: BigInt(record.sizeBytes),
    createdAt: timestampFromDate(record.createdAt),
    lastUsedAt: timestampFromDate(record.usedAt),
    usageCount: BigInt(record.uses),
    description: record.description,
    recordType: cacheRecordType(record),
    inUse: record.inUse,
    shared: record.shared,
    mutable: record.kind === 'mount',
  };
}

async function aborting<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
