/** From what a client asks for to the record of a network. Pure but for its id and its time. */
import { randomBytes } from 'node:crypto';

import { conflict, forbidden, invalid, notFound } from '../errors.ts';
import type { IpamPool, NetworkRecord } from '../state/networks-table.ts';
import { formatTime, nowNs } from '../time.ts';
import { OPTION } from './driver-options.ts';
import type { NetworkKind } from './drivers.ts';

/** What `POST /networks/create` asks for. */
export interface NetworkRequest {
  name: string;
  driver: string;
  internal: boolean;
  attachable: boolean;
  enableIpv4?: boolean;
  enableIpv6: boolean;
  ipam: { driver: string; options: Record<string, string> | null; pools: IpamPool[] };
  options: Record<string, string>;
  labels: Record<string, string>;
  /** A configuration for others to be made with, and nothing else. */
  configOnly?: boolean;
  /** Name of the network whose configuration this one is made with. */
  configFrom?: string;
}

/** What a request is looked at beside. */
export interface PlanContext {
  kinds: ReadonlyMap<string, NetworkKind>;
  byName(name: string): NetworkRecord | undefined;
}

/** Names that no user network may take. */
const PREDEFINED = ['bridge', 'host', 'none', 'default'];

/**
 * @throws {EngineError} `CONFLICT` for a taken name, `FORBIDDEN` for a predefined one and for a configuration that is set
 *   twice, `INVALID`, `NOT_FOUND` for an unknown driver or configuration
 */
export function planNetwork(request: NetworkRequest, context: PlanContext): NetworkRecord {
  const { name, driver, ipam } = request;
  const { kinds } = context;
  if (name.trim() === '') throw invalid('invalid network name: name is empty');
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw invalid(
      `invalid network name: "${name}" includes characters other than [a-zA-Z0-9_.-], or begins with one of [_.-]`,
    );
  }
  if (PREDEFINED.includes(name)) {
    throw forbidden(`operation is not permitted on predefined ${name} network`);
  }
  if (context.byName(name)) throw conflict(`network with name ${name} already exists`);
  if (driver !== '' && !kinds.has(driver)) {
    if (driver === 'host' || driver === 'null') {
      throw forbidden(`only one instance of "${driver}" network is allowed`);
    }
    throw notFound(`plugin "${driver}" not found`);
  }
  if (ipam.driver !== '' && ipam.driver !== 'default') throw notFound(`plugin "${ipam.driver}" not found`);
  if (request.configOnly) return planConfiguration(request);
  const configured = request.configFrom ? configuredBy(request, request.configFrom, context) : request;
  const { options } = configured;
  const kind = driver || 'bridge';
  const base = recordOf(configured, kind);
  const record: NetworkRecord = {
    ...base,
    // without a parent such a network leads nowhere
    internal: request.internal || (kind !== 'bridge' && !options['parent']),
    bridgeName: kind === 'bridge' ? options[OPTION.bridgeName] || `br-${base.id.slice(0, 12)}` : '',
    ...(request.configFrom ? { configFrom: request.configFrom } : {}),
  };
  kinds.get(kind)?.check(record);
  return record;
}

function recordOf(request: NetworkRequest, driver: string): NetworkRecord {
  return {
    id: randomBytes(32).toString('hex'),
    name: request.name,
    created: formatTime(nowNs()),
    driver,
    predefined: false,
    ipv4: request.enableIpv4 ?? true,
    ipv6: request.enableIpv6,
    internal: request.internal,
    attachable: request.attachable,
    bridgeName: '',
    ipam: { ...request.ipam, driver: 'default' },
    options: request.options,
    labels: request.labels,
  };
}

/** Nothing is made of it, whatever its driver. */
function planConfiguration(request: NetworkRequest): NetworkRecord {
  if (request.configFrom) {
    throw forbidden('a configuration network cannot depend on another configuration network');
  }
  if (request.internal || request.attachable) {
    throw forbidden(
      'configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported.',
    );
  }
  return { ...recordOf(request, 'null'), configOnly: true };
}

function configuredBy(request: NetworkRequest, from: string, { byName }: PlanContext): NetworkRequest {
  const { ipam, options, labels, enableIpv6 } = request;
  const own = ipam.pools.length + [ipam.options ?? {}, options, labels].flatMap(Object.keys).length;
  if (own > 0 || enableIpv6) {
    throw forbidden(
      'user specified configurations are not supported if the network depends on a configuration network',
    );
  }
  const found = byName(from);
  if (!found?.configOnly) throw notFound(`configuration network "${from}" does not exist`);
  return {
    ...request,
    enableIpv4: found.ipv4 ?? true,
    enableIpv6: found.ipv6 ?? false,
    ipam: found.ipam,
    options: found.options,
    labels: found.labels,
  };
}
