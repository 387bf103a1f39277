/** Published ports: from `ExposedPorts` and `PortBindings` to mappings, and from what was published to Docker's shapes. */
import type { PortMapping, PortProtocol, PublishedPort } from '@tare/netdriver';

import type { ContainerConfig } from '../containers/create-request.ts';
import type { HostConfig } from '../containers/host-config.ts';
import { invalid } from '../errors.ts';

/** The ports of a key such as `80/tcp`, `80` (tcp) or `8000-8010/udp`, one by one. */
function containerPorts(key: string): { protocol: string; port: number }[] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/([a-z]+))?$/i.exec(key);
  if (!match) throw invalid(`invalid port specification: "${key}"`);
  const from = Number(match[1]);
  const to = Number(match[2] ?? match[1]);
  const protocol = (match[3] ?? 'tcp').toLowerCase();
  if (to < from || to > 65_535) throw invalid(`invalid port specification: "${key}"`);
  return Array.from({ length: to - from + 1 }, (_, index) => ({ protocol, port: from + index }));
}

function transport(protocol: string): PortProtocol {
  if (protocol === 'tcp' || protocol === 'udp' || protocol === 'sctp') return protocol;
  throw invalid(`invalid protocol: ${protocol}`);
}

/**
 * What to publish: every binding, and with `PublishAllPorts` an ephemeral port for each exposed port without one.
 *
 * @throws {EngineError} `INVALID` for a malformed port or an unknown protocol
 */
export function portMappings(
  config: Pick<ContainerConfig, 'ExposedPorts'>,
  host: Pick<HostConfig, 'PortBindings' | 'PublishAllPorts'>,
): PortMapping[] {
  const result: PortMapping[] = [];
  const bound = new Set<string>();
  for (const [key, bindings] of Object.entries(host.PortBindings ?? {})) {
    const ports = containerPorts(key);
    for (const { protocol, port } of ports) {
      for (const { HostIp: hostIp = '', HostPort: hostPort = '' } of bindings ?? []) {
        bound.add(`${port}/${protocol}`);
        result.push({
          protocol: transport(protocol),
          containerPort: port,
          ...(hostIp === '' ? {} : { hostIp }),
          ...hostPortOf(hostPort),
        });
      }
    }
  }
  if (host.PublishAllPorts) {
    for (const key of Object.keys(config.ExposedPorts ?? {})) {
      for (const { protocol, port } of containerPorts(key)) {
        if (!bound.has(`${port}/${protocol}`)) {
          result.push({ protocol: transport(protocol), containerPort: port });
        }
      }
    }
  }
  return result;
}

function hostPortOf(text: string): { hostPort?: number | { from: number; to: number } } {
  if (text === '' || text === '0') return {};
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const from = Number(match?.[1]);
  const to = Number(match?.[2] ?? match?.[1]);
  if (!match || to > 65_535 || to < from) throw invalid(`invalid port specification: "${text}"`);
  return { hostPort: from === to ? from : { from, to } };
}

/** `NetworkSettings.Ports` of inspect: exposed ports have null, published ones their bindings. */
export function inspectPorts(
  config: Pick<ContainerConfig, 'ExposedPorts'>,
  published: readonly PublishedPort[],
): Record<string, { HostIp: string; HostPort: string }[] | null> {
  const result: Record<string, { HostIp: string; HostPort: string }[] | null> = {};
  for (const key of Object.keys(config.ExposedPorts ?? {})) {
    for (const { protocol, port } of containerPorts(key)) result[`${port}/${protocol}`] = null;
  }
  for (const { protocol, containerPort, hostIp, hostPort } of published) {
    (result[`${containerPort}/${protocol}`] ??= []).push({ HostIp: hostIp, HostPort: String(hostPort) });
  }
  return result;
}

/** One entry of `Ports` in the list. */
export interface ListedPort {
  IP?: string;
  PrivatePort: number;
  PublicPort?: number;
  Type: string;
}

/** `Ports` of the list: as inspect, flat, in the order of the container's ports. */
export function listPorts(
  config: Pick<ContainerConfig, 'ExposedPorts'>,
  published: readonly PublishedPort[],
): ListedPort[] {
  const result: ListedPort[] = [];
  for (const [key, bindings] of Object.entries(inspectPorts(config, published))) {
    const [port, type = 'tcp'] = key.split('/');
    if (bindings === null) result.push({ PrivatePort: Number(port), Type: type });
    for (const { HostIp, HostPort } of bindings ?? []) {
      result.push({ IP: HostIp, PrivatePort: Number(port), PublicPort: Number(HostPort), Type: type });
    }
  }
  return result.sort((a, b) => a.PrivatePort - b.PrivatePort || (a.PublicPort ?? 0) - (b.PublicPort ?? 0));
}
