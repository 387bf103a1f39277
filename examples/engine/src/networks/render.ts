/** Networks in Docker's JSON. Pure. */
import type { Network } from '@tare/netdriver';

import type { NetworkRecord } from '../state/networks-table.ts';
import type { AttachedEndpoint } from './networks.ts';

/** One network of the list, or with its endpoints for inspect. */
export function renderNetwork(
  record: NetworkRecord,
  made: Network | undefined,
  attached: readonly AttachedEndpoint[],
): unknown {
  return {
    Name: record.name,
    Id: record.id,
    Created: record.created,
    Scope: 'local',
    Driver: record.driver,
    EnableIPv4: record.driver === 'bridge',
    EnableIPv6: false,
    IPAM: { Driver: record.ipam.driver, Options: record.ipam.options, Config: pools(record, made) },
    Internal: record.internal,
    Attachable: record.attachable,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: Object.fromEntries(
      attached.map(({ containerId, containerName, endpoint }) => [
        containerId,
        {
          Name: containerName,
          EndpointID: endpoint.id,
          MacAddress: endpoint.macAddress,
          IPv4Address: endpoint.ipv4Address,
          IPv6Address: '',
        },
      ]),
    ),
    Options: record.options,
    Labels: record.labels,
  };
}

/** The pools as given; where the creator left the choice to the engine, the choice. */
function pools(record: NetworkRecord, made: Network | undefined): unknown[] | null {
  if (record.driver !== 'bridge') return null;
  if (record.ipam.pools.length > 0) return record.ipam.pools;
  return made ? [{ Subnet: made.subnet, Gateway: made.gateway }] : [];
}
