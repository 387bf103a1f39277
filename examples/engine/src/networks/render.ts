/** Networks in Docker's JSON. Pure. */
import type { Network } from '@tare/netdriver';

import type { IpamPool, NetworkRecord } from '../state/networks-table.ts';
import type { AttachedEndpoint } from './networks.ts';

/** One network of the list, or with its endpoints for inspect. */
export function renderNetwork(
  record: NetworkRecord,
  made: Network | undefined,
  attached: readonly AttachedEndpoint[],
): unknown {
  const carried = isCarried(record);
  return {
    Name: record.name,
    Id: record.id,
    Created: record.created,
    Scope: 'local',
    Driver: record.driver,
    EnableIPv4: carried && (record.ipv4 ?? true),
    EnableIPv6: carried && (record.ipv6 ?? false),
    IPAM: { Driver: record.ipam.driver, Options: record.ipam.options, Config: pools(record, made) },
    Internal: record.internal,
    Attachable: record.attachable,
    Ingress: false,
    ConfigFrom: { Network: record.configFrom ?? '' },
    ConfigOnly: record.configOnly ?? false,
    Containers: Object.fromEntries(
      attached.map(({ containerId, containerName, endpoint }) => [
        containerId,
        {
          Name: containerName,
          EndpointID: endpoint.id,
          MacAddress: endpoint.macAddress,
          IPv4Address: endpoint.ipv4Address ?? '',
          IPv6Address: endpoint.ipv6Address ?? '',
        },
      ]),
    ),
    Options: record.options,
    Labels: record.labels,
  };
}

/** The pools as given, with what the driver chose where their creator left it to the engine. */
function pools(record: NetworkRecord, made: Network | undefined): IpamPool[] | null {
  if (!isCarried(record)) return null;
  if (!made) return record.ipam.pools;
  const asked = record.ipam.pools.filter(({ Subnet }) => Subnet);
  return made.subnets.map(({ subnet, gateway, ipRange }, index) => {
    const auxiliary = asked[index]?.AuxiliaryAddresses;
    return {
      Subnet: subnet,
      ...(ipRange === undefined ? {} : { IPRange: ipRange }),
      ...(gateway === undefined ? {} : { Gateway: gateway }),
      ...(auxiliary && Object.keys(auxiliary).length > 0 ? { AuxiliaryAddresses: auxiliary } : {}),
    };
  });
}

/** Whether it has addresses: host and none are modes. */
function isCarried({ driver, configOnly }: NetworkRecord): boolean {
  return configOnly === true || (driver !== 'host' && driver !== 'null');
}
