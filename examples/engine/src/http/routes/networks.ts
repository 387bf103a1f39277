/** `/networks`: parse, call, render. */
import { z } from 'zod';

import type { Containers } from '../../containers/containers.ts';
import { endpointSettingsSchema } from '../../containers/create-request.ts';
import { stringMap } from '../../containers/go-values.ts';
import { invalid } from '../../errors.ts';
import type { Networks } from '../../networks/networks.ts';
import { renderNetwork } from '../../networks/render.ts';
import type { NetworkRecord } from '../../state/networks-table.ts';
import type { RequestContext } from '../context.ts';
import type { Route } from '../route.ts';

const poolSchema = z.object({
  Subnet: z.string().optional(),
  IPRange: z.string().optional(),
  Gateway: z.string().optional(),
  AuxiliaryAddresses: stringMap.optional(),
});

const createSchema = z.object({
  Name: z.string().default(''),
  Driver: z.string().default(''),
  Internal: z.boolean().default(false),
  Attachable: z.boolean().default(false),
  Ingress: z.boolean().default(false),
  ConfigOnly: z.boolean().default(false),
  ConfigFrom: z.object({ Network: z.string().default('') }).optional(),
  EnableIPv4: z.boolean().default(true),
  EnableIPv6: z.boolean().default(false),
  IPAM: z
    .object({
      Driver: z.string().default(''),
      Options: stringMap.optional(),
      Config: z.array(poolSchema).optional(),
    })
    .optional(),
  Options: stringMap.optional(),
  Labels: stringMap.optional(),
});

const connectSchema = z.object({
  Container: z.string().default(''),
  EndpointConfig: endpointSettingsSchema.optional(),
});
const disconnectSchema = z.object({ Container: z.string().default(''), Force: z.boolean().default(false) });

const LIST_FILTERS = ['dangling', 'driver', 'id', 'label', 'label!', 'name', 'scope', 'type'];

/** The end-points of networks. */
export function networkRoutes(networks: Networks, containers: Containers): Route[] {
  const list = (context: RequestContext): void => {
    const found = networks.list(context.query.filters(LIST_FILTERS));
    // the list leaves endpoints out, as dockerd does since API 1.28
    context.json(
      200,
      found.map((record) =>
        renderNetwork(
          record,
          networks.made(record.id),
          context.speaks('1.28') ? [] : networks.attached(record.id),
        ),
      ),
    );
  };
  const inspect = (record: NetworkRecord): unknown =>
    renderNetwork(record, networks.made(record.id), networks.attached(record.id));
  return [
    { method: 'GET', path: '/networks', handler: list },
    { method: 'GET', path: '/networks/', handler: list },
    {
      method: 'POST',
      path: '/networks/create',
      job: 'network.create',
      async handler(context) {
        const body = await context.body(createSchema);
        if (body.Ingress) throw invalid('ingress networks are of a swarm, which this engine is not part of');
        const { id, warning } = await networks.create({
          name: body.Name,
          driver: body.Driver,
          internal: body.Internal,
          attachable: body.Attachable,
          enableIpv4: body.EnableIPv4,
          enableIpv6: body.EnableIPv6,
          ipam: {
            driver: body.IPAM?.Driver ?? '',
            options: body.IPAM?.Options ?? null,
            pools: body.IPAM?.Config ?? [],
          },
          options: body.Options ?? {},
          labels: body.Labels ?? {},
          configOnly: body.ConfigOnly,
          configFrom: body.ConfigFrom?.Network ?? '',
        });
        context.json(201, { Id: id, Warning: warning });
      },
    },
    {
      method: 'POST',
      path: '/networks/prune',
      job: 'network.prune',
      async handler(context) {
        const filters = context.query.filters(['label', 'label!', 'until']);
        const deleted = await networks.prune(filters, containers.networksInUse());
        context.json(200, { NetworksDeleted: deleted.length > 0 ? deleted : null });
      },
    },
    {
      method: 'GET',
      path: '/networks/:id',
      handler: (context) => context.json(200, inspect(networks.find(context.param('id')))),
    },
    {
      method: 'DELETE',
      path: '/networks/:id',
      job: 'network.remove',
      async handler(context) {
        await networks.remove(context.param('id'));
        context.empty(204);
      },
    },
    {
      method: 'POST',
      path: '/networks/:id/connect',
      job: 'network.connect',
      async handler(context) {
        const body = await context.body(connectSchema);
        const network = networks.find(context.param('id'));
        await containers.connectNetwork(body.Container, network, body.EndpointConfig ?? {});
        context.empty(200);
      },
    },
    {
      method: 'POST',
      path: '/networks/:id/disconnect',
      job: 'network.disconnect',
      async handler(context) {
        const body = await context.body(disconnectSchema);
        await containers.disconnectNetwork(body.Container, networks.find(context.param('id')));
        context.empty(200);
      },
    },
  ];
}
