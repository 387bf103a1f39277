/** `/volumes`: parse, call, render. */
import { z } from 'zod';

import { stringMap } from '../../containers/go-values.ts';
import type { VolumeRecord } from '../../state/volumes-table.ts';
import type { Volumes } from '../../volumes/volumes.ts';
import type { Route } from '../route.ts';

const createSchema = z.object({
  Name: z.string().default(''),
  Driver: z.string().default(''),
  DriverOpts: stringMap.optional(),
  Labels: stringMap.optional(),
});

/** The end-points of volumes. */
export function volumeRoutes(volumes: Volumes): Route[] {
  const render = (record: VolumeRecord): unknown => ({
    CreatedAt: record.created,
    Driver: 'local',
    Labels: record.labels,
    Mountpoint: volumes.mountpoint(record.name),
    Name: record.name,
    Options: record.options,
    Scope: 'local',
  });
  return [
    {
      method: 'GET',
      path: '/volumes',
      handler: (context) => {
        const filters = context.query.filters(['dangling', 'driver', 'label', 'label!', 'name']);
        context.json(200, { Volumes: volumes.list(filters).map(render), Warnings: null });
      },
    },
    {
      method: 'POST',
      path: '/volumes/create',
      job: 'volume.create',
      async handler(context) {
        const body = await context.body(createSchema);
        const record = await volumes.create({
          name: body.Name,
          driver: body.Driver,
          labels: body.Labels,
          options: body.DriverOpts,
        });
        context.json(201, render(record));
      },
    },
    {
      method: 'POST',
      path: '/volumes/prune',
      job: 'volume.prune',
      async handler(context) {
        const filters = context.query.filters(['all', 'label', 'label!']);
        const all = !context.speaks('1.42') || filters.bool('all') === true;
        const { deleted, spaceReclaimed } = await volumes.prune(filters, all);
        context.json(200, { VolumesDeleted: deleted, SpaceReclaimed: spaceReclaimed });
      },
    },
    {
      method: 'GET',
      path: '/volumes/:name',
      handler: (context) => context.json(200, render(volumes.get(context.param('name')))),
    },
    {
      method: 'DELETE',
      path: '/volumes/:name',
      job: 'volume.remove',
      async handler(context) {
        await volumes.remove(context.param('name'), { force: context.query.bool('force') });
        context.empty(204);
      },
    },
  ];
}
