/** The files of containers: archives in and out, changes, export. */
import type { PathStat, WriteArchiveOptions } from '../../containers/archive.ts';
import type { ChangedPath } from '../../containers/export.ts';
import { invalid } from '../../errors.ts';
import { formatTime } from '../../time.ts';
import type { RequestContext } from '../context.ts';
import type { Route } from '../route.ts';

/** What these end-points need of the engine. */
export interface ContainerFilesService {
  statArchive(container: string, path: string): Promise<PathStat>;
  readArchive(
    container: string,
    path: string,
    signal: AbortSignal,
    send: (stat: PathStat, archive: AsyncIterable<Uint8Array>) => Promise<void>,
  ): Promise<void>;
  writeArchive(
    container: string,
    path: string,
    archive: AsyncIterable<Uint8Array>,
    options: WriteArchiveOptions,
  ): Promise<void>;
  changes(container: string): Promise<ChangedPath[]>;
  export(container: string, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** The end-points. */
export function containerFilesRoutes(service: ContainerFilesService): Route[] {
  const path = '/containers/:id/archive';
  return [
    {
      method: 'HEAD',
      path,
      async handler(context) {
        setStat(context, await service.statArchive(context.param('id'), pathOf(context)));
        context.empty(200);
      },
    },
    {
      method: 'GET',
      path,
      handler: (context) =>
        service.readArchive(context.param('id'), pathOf(context), context.signal, async (stat, archive) => {
          setStat(context, stat);
          await sendArchive(context, archive, 'application/x-tar');
        }),
    },
    {
      method: 'PUT',
      path,
      job: 'container.extract',
      cancelOnDisconnect: true,
      async handler(context) {
        const { query } = context;
        await service.writeArchive(context.param('id'), pathOf(context), context.bodyStream(), {
          ownByUser: query.bool('copyUIDGID'),
          sameKind: query.bool('noOverwriteDirNonDir'),
          signal: context.job.signal,
        });
        context.empty(200);
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/changes',
      handler: async (context) => {
        const changes = await service.changes(context.param('id'));
        context.json(200, changes.length > 0 ? changes : null);
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/export',
      handler: (context) =>
        sendArchive(context, service.export(context.param('id'), context.signal), 'application/octet-stream'),
    },
  ];
}

function pathOf(context: RequestContext): string {
  const path = context.query.get('path') ?? '';
  if (path === '' || path.includes('\0')) throw invalid("bad parameter: 'path' cannot be empty");
  return path;
}

/** The first piece decides the status: what fails before it is an ordinary error. */
async function sendArchive(
  context: RequestContext,
  archive: AsyncIterable<Uint8Array>,
  contentType: string,
): Promise<void> {
  let reply: ReturnType<RequestContext['stream']> | undefined;
  for await (const piece of archive) {
    reply ??= context.stream({ contentType });
    await reply.write(piece);
  }
  (reply ?? context.stream({ contentType })).end();
}

function setStat(context: RequestContext, { name, size, mode, mtimeNs, linkTarget }: PathStat): void {
  const stat = { name, size, mode: goFileMode(mode), mtime: formatTime(mtimeNs), linkTarget };
  context.setHeader(
    'X-Docker-Container-Path-Stat',
    Buffer.from(JSON.stringify(stat), 'utf8').toString('base64'),
  );
}

/** Type bits of st_mode → those of Go's io/fs.FileMode, which the API's clients know. */
const GO_TYPES: Readonly<Record<number, number>> = {
  0o040000: 2 ** 31,
  0o120000: 2 ** 27,
  0o060000: 2 ** 26,
  0o020000: 2 ** 26 + 2 ** 21,
  0o010000: 2 ** 25,
  0o140000: 2 ** 24,
};

/** `st_mode` as Go's io/fs.FileMode. */
export function goFileMode(mode: number): number {
  return (
    (mode & 0o777) +
    (GO_TYPES[mode & 0o170000] ?? 0) +
    (mode & 0o4000 ? 2 ** 23 : 0) +
    (mode & 0o2000 ? 2 ** 22 : 0) +
    (mode & 0o1000 ? 2 ** 20 : 0)
  );
}
