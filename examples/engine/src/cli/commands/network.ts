/** `network ls`, `create`, `rm`, `connect`, `disconnect`. */
import { defineCommand } from '../command.ts';
import { encodeFilters } from '../client.ts';
import { CliError, DaemonError, ManyErrors, UsageError } from '../errors.ts';
import { filterFlag } from '../filter-flag.ts';
import { integer, list, string, toggle } from '../flags.ts';
import { formatHelp } from '../format-flag.ts';
import { compareNatural } from '../format/natural-order.ts';
import { shortId } from '../format/units.ts';
import { printListing, type Listing } from '../output.ts';
import { keyValueMap } from '../values/key-value.ts';

interface NetworkSummary {
  Id: string;
  Name: string;
  Driver: string;
  Scope: string;
  Created: string;
  Internal: boolean;
  EnableIPv6: boolean;
  Labels: Record<string, string> | null;
}

function listing(truncate: boolean): Listing<NetworkSummary> {
  return {
    columns: {
      ID: { header: 'NETWORK ID', value: ({ Id }) => (truncate ? shortId(Id) : Id) },
      Name: { header: 'NAME', value: ({ Name }) => Name },
      Driver: { header: 'DRIVER', value: ({ Driver }) => Driver },
      Scope: { header: 'SCOPE', value: ({ Scope }) => Scope },
      IPv4: { header: 'IPV4', value: (row) => String((row as { EnableIPv4?: boolean }).EnableIPv4 ?? false) },
      IPv6: { header: 'IPV6', value: ({ EnableIPv6 }) => String(EnableIPv6) },
      Internal: { header: 'INTERNAL', value: ({ Internal }) => String(Internal) },
      Labels: {
        header: 'LABELS',
        value: ({ Labels }) =>
          Object.entries(Labels ?? {})
            .map(([key, value]) => `${key}=${value}`)
            .join(','),
      },
      CreatedAt: { header: 'CREATED AT', value: ({ Created }) => goTimestamp(Created) },
    },
    methods: { Label: ({ Labels }, name) => Labels?.[String(name)] ?? '' },
    typeName: '*network.networkContext',
    table: '{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}',
  };
}

/** `2026-11-23T20:57:15.643149993Z` → `2026-11-23 20:57:15.643149993 +0000 UTC`. */
function goTimestamp(text: string): string {
  return text.replace('T', ' ').replace(/Z$/, ' +0000 UTC');
}

/** Orders by name; numbers inside names count as numbers. */
export function byName(a: { Name: string }, b: { Name: string }): number {
  return compareNatural(a.Name, b.Name);
}

/** `network ls`. */
export const ls = defineCommand({
  usage: '[OPTIONS]',
  summary: 'List networks',
  args: { min: 0 },
  flags: {
    filter: filterFlag('Provide filter values (e.g. "driver=bridge")'),
    format: string(formatHelp),
    noTrunc: toggle('Do not truncate the output'),
    quiet: toggle('Only display network IDs', { short: 'q' }),
  },
  async run({ cli, flags }) {
    const networks = await cli.client.json<NetworkSummary[]>('GET', '/networks', {
      query: { filters: encodeFilters(flags.filter) },
    });
    printListing(cli, listing(!flags.noTrunc), networks.sort(byName), {
      format: flags.format || (flags.quiet ? '' : (cli.config.format('networks') ?? '')),
      quiet: flags.quiet,
      idOf: ({ Id }) => (flags.noTrunc ? Id : shortId(Id)),
    });
  },
});

/** One entry of `IPAM.Config`. */
interface IpamPool {
  Subnet: string;
  IPRange?: string;
  Gateway?: string;
  AuxiliaryAddresses?: Record<string, string>;
}

/** Pairs ranges, gateways and auxiliary addresses with the subnet each of them lies in. */
async function ipamPools(flags: {
  subnet: readonly string[];
  ipRange: readonly string[];
  gateway: readonly string[];
  auxAddress: readonly string[];
}): Promise<IpamPool[]> {
  const split = (values: readonly string[]): string[] => values.flatMap((value) => value.split(','));
  const subnets = split(flags.subnet);
  if (subnets.length < flags.ipRange.length || subnets.length < flags.gateway.length) {
    throw new UsageError('every ip-range or gateway must have a corresponding subnet');
  }
  const { BlockList, isIP } = await import('node:net');
  const family = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4');
  const pools = subnets.map((subnet) => {
    const pool: IpamPool = { Subnet: subnet };
    const [address = '', prefix = ''] = subnet.split('/');
    const holds = (other: string): boolean => {
      const bare = other.split('/')[0]!;
      // What is no subnet at all holds nothing; the daemon will say what is wrong with it.
      if (isIP(address) === 0 || !/^\d+$/.test(prefix) || isIP(bare) === 0) return false;
      const block = new BlockList();
      block.addSubnet(address, Number(prefix), family(address));
      return block.check(bare, family(bare));
    };
    return { pool, holds };
  });
  const poolOf = (address: string, what: string): IpamPool => {
    const found = pools.find(({ holds }) => holds(address));
    if (!found) throw new UsageError(`no matching subnet for ${what} ${address}`);
    return found.pool;
  };
  for (const range of split(flags.ipRange)) {
    const pool = poolOf(range, 'range');
    if (pool.IPRange)
      throw new UsageError(
        `cannot configure multiple ranges (${range}, ${pool.IPRange}) on the same subnet (${pool.Subnet})`,
      );
    pool.IPRange = range;
  }
  for (const gateway of split(flags.gateway)) {
    const pool = poolOf(gateway, 'gateway');
    if (pool.Gateway)
      throw new UsageError(
        `cannot configure multiple gateways (${gateway}, ${pool.Gateway}) for the same subnet (${pool.Subnet})`,
      );
    pool.Gateway = gateway;
  }
  for (const [name, address] of Object.entries(keyValueMap(flags.auxAddress))) {
    const pool = poolOf(address, 'aux-address');
    pool.AuxiliaryAddresses = { ...pool.AuxiliaryAddresses, [name]: address };
  }
  return pools.map(({ pool }) => pool);
}

/** `network create`. */
export const create = defineCommand({
  usage: '[OPTIONS] NETWORK',
  summary: 'Create a network',
  args: { min: 1 },
  flags: {
    attachable: toggle('Enable manual container attachment'),
    auxAddress: list('Auxiliary IPv4 or IPv6 addresses used by Network driver', { placeholder: 'map' }),
    configFrom: string('The network from which to copy the configuration'),
    configOnly: toggle('Create a configuration only network'),
    driver: string('Driver to manage the Network', { short: 'd', initial: 'bridge' }),
    gateway: list('IPv4 or IPv6 Gateway for the master subnet', { placeholder: 'strings' }),
    ingress: toggle('Create swarm routing-mesh network'),
    internal: toggle('Restrict external access to the network'),
    ipRange: list('Allocate container ip from a sub-range', { placeholder: 'strings' }),
    ipamDriver: string('IP Address Management Driver', { initial: 'default' }),
    ipamOpt: list('Set IPAM driver specific options', { placeholder: 'map' }),
    ipv4: toggle('Enable or disable IPv4 address assignment', { initial: true }),
    ipv6: toggle('Enable or disable IPv6 address assignment'),
    label: list('Set metadata on a network'),
    opt: list('Set driver specific options', { short: 'o', placeholder: 'map' }),
    scope: string("Control the network's scope"),
    subnet: list('Subnet in CIDR format that represents a network segment', { placeholder: 'strings' }),
  },
  async run({ cli, flags, args: [name], given }) {
    const { Id } = await cli.client.json<{ Id: string }>('POST', '/networks/create', {
      json: {
        Name: name,
        Driver: flags.driver,
        Scope: flags.scope,
        IPAM: {
          Driver: flags.ipamDriver,
          Options: keyValueMap(flags.ipamOpt),
          Config: await ipamPools(flags),
        },
        Internal: flags.internal,
        Attachable: flags.attachable,
        Ingress: flags.ingress,
        ConfigOnly: flags.configOnly,
        ConfigFrom: flags.configFrom ? { Network: flags.configFrom } : null,
        Options: keyValueMap(flags.opt),
        Labels: keyValueMap(flags.label),
        ...(given.has('ipv4') && { EnableIPv4: flags.ipv4 }),
        ...(given.has('ipv6') && { EnableIPv6: flags.ipv6 }),
      },
    });
    cli.print(Id);
  },
});

/** `network rm`. */
export const rm = defineCommand({
  usage: 'NETWORK [NETWORK...]',
  summary: 'Remove one or more networks',
  args: { min: 1, max: Infinity },
  flags: { force: toggle('Do not error if the network does not exist', { short: 'f' }) },
  async run({ cli, flags, args }) {
    const failures: DaemonError[] = [];
    for (const name of args) {
      try {
        await cli.client.text('DELETE', `/networks/${name}`);
        cli.print(name);
      } catch (error) {
        if (!(error instanceof DaemonError)) throw error;
        if (!(flags.force && error.status === 404)) failures.push(error);
      }
    }
    if (failures.length === 0) return;
    // Docker reports each failure and then, on a line of its own, the status it ends with.
    throw new CliError(`${new ManyErrors(failures).message}\nexit status 1`, { cause: failures[0] });
  },
});

/** `network connect`. */
export const connect = defineCommand({
  usage: '[OPTIONS] NETWORK CONTAINER',
  summary: 'Connect a container to a network',
  args: { min: 2 },
  flags: {
    alias: list('Add network-scoped alias for the container', { placeholder: 'strings' }),
    driverOpt: list('driver options for the network', { placeholder: 'strings' }),
    gwPriority: integer(
      'Highest gw-priority provides the default gateway. Accepts positive and negative values.',
    ),
    ip: string('IPv4 address (e.g., "172.30.100.104")'),
    ip6: string('IPv6 address (e.g., "2001:db8::33")'),
    link: list('Add link to another container'),
    linkLocalIp: list('Add a link-local address for the container', { placeholder: 'strings' }),
  },
  async run({ cli, flags, args: [network, container] }) {
    const addresses = {
      ...(flags.ip && { IPv4Address: flags.ip }),
      ...(flags.ip6 && { IPv6Address: flags.ip6 }),
      ...(flags.linkLocalIp.length > 0 && { LinkLocalIPs: flags.linkLocalIp }),
    };
    await cli.client.text('POST', `/networks/${network}/connect`, {
      json: {
        Container: container,
        EndpointConfig: {
          IPAMConfig: addresses,
          Links: flags.link.length > 0 ? flags.link : null,
          Aliases: flags.alias.length > 0 ? flags.alias : null,
          DriverOpts: keyValueMap(flags.driverOpt),
          GwPriority: flags.gwPriority,
        },
      },
    });
  },
});

/** `network disconnect`. */
export const disconnect = defineCommand({
  usage: '[OPTIONS] NETWORK CONTAINER',
  summary: 'Disconnect a container from a network',
  args: { min: 2 },
  flags: { force: toggle('Force the container to disconnect from a network', { short: 'f' }) },
  async run({ cli, flags, args: [network, container] }) {
    await cli.client.text('POST', `/networks/${network}/disconnect`, {
      json: { Container: container, Force: flags.force },
    });
  },
});
