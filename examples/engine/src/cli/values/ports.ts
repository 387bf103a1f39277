/** `-p` and `--expose`: which container ports exist and where they appear on the host. */
import { isIP } from 'node:net';
import { UsageError } from '../errors.ts';

/** One way a container port appears on the host. Both are strings on the wire; empty means "the daemon chooses". */
export interface PortBinding {
  HostIp: string;
  /** A port, a range `8000-8010` to choose from, or empty. */
  HostPort: string;
}

/** A container port `<number>/<protocol>` and its binding. */
export interface PublishedPort {
  port: string;
  binding: PortBinding;
}

const protocols = new Set(['tcp', 'udp', 'sctp']);

/**
 * One `-p` value: `[[ip:][host]:]container[/protocol]` with ranges on either side, or the long form
 * `target=80,published=8080,protocol=tcp`. A range yields one entry a port.
 *
 * @throws {UsageError} worded as Docker's
 */
export function parsePublish(text: string): PublishedPort[] {
  const spec = text.includes('=') ? fromLongForm(text) : text;
  const { ip, hostPort, containerPort } = splitSpec(spec);
  const slash = containerPort.indexOf('/');
  const ports = slash === -1 ? containerPort : containerPort.slice(0, slash);
  const protocol = (slash === -1 ? '' : containerPort.slice(slash + 1)) || 'tcp';

  const hostIp = ip.startsWith('[') && ip.endsWith(']') ? ip.slice(1, -1) : ip;
  if (hostIp !== '' && isIP(hostIp.replace(/%.*$/, '')) === 0)
    throw new UsageError(`invalid IP address: ${hostIp}`);
  if (ports === '') throw new UsageError(`no port specified: ${spec}<empty>`);
  const container = parseRange(ports);
  if (!container) throw new UsageError(`invalid containerPort: ${ports}`);
  const host = hostPort === '' ? undefined : parseRange(hostPort);
  if (hostPort !== '' && !host) throw new UsageError(`invalid hostPort: ${hostPort}`);
  const count = container.end - container.start;
  if (host && host.end - host.start !== count && count !== 0) {
    throw new UsageError(`invalid ranges specified for container and host Ports: ${ports} and ${hostPort}`);
  }
  if (!protocols.has(protocol.toLowerCase())) throw new UsageError(`invalid proto: ${protocol}`);

  return Array.from({ length: count + 1 }, (_, offset) => ({
    port: `${container.start + offset}/${protocol.toLowerCase()}`,
    binding: { HostIp: hostIp, HostPort: hostPortAt(host, count, offset) },
  }));
}

function hostPortAt(host: PortRange | undefined, count: number, offset: number): string {
  if (!host) return '';
  // One container port and several host ports: the daemon takes any free one.
  if (count === 0 && host.end !== host.start) return `${host.start}-${host.end}`;
  return String(host.start + offset);
}

/** The address may be IPv6, so only the last two colons count. */
function splitSpec(spec: string): { ip: string; hostPort: string; containerPort: string } {
  const parts = spec.split(':');
  const containerPort = parts.pop()!;
  const hostPort = parts.pop() ?? '';
  return { ip: parts.join(':'), hostPort, containerPort };
}

function fromLongForm(text: string): string {
  const fields: Record<string, string> = {};
  for (const part of text.split(',')) {
    const at = part.indexOf('=');
    if (at === -1) {
      throw new UsageError(`invalid publish opts format (should be name=value but got '${part}')`);
    }
    fields[part.slice(0, at)] = part.slice(at + 1);
  }
  const { published = '', target = '', protocol = 'tcp' } = fields;
  return `${published}:${target}/${protocol}`;
}

/** Why a text is no port, in Go's words. */
function rangeError(text: string): string {
  const bad = text.split('-').find((part) => !/^\d+$/.test(part));
  if (bad !== undefined) return `strconv.ParseUint: parsing ${JSON.stringify(bad)}: invalid syntax`;
  return `invalid range specified for port: ${text}`;
}

interface PortRange {
  start: number;
  end: number;
}

/** `80` or `8000-8010`; undefined when it is neither. */
function parseRange(text: string): PortRange | undefined {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text);
  if (!match) return undefined;
  const start = Number(match[1]);
  const end = match[2] === undefined ? start : Number(match[2]);
  return end >= start && end <= 0xffff ? { start, end } : undefined;
}

/**
 * One `--expose` value: a port or range with an optional protocol, as `<number>/<protocol>` entries.
 *
 * @throws {UsageError} worded as Docker's
 */
export function parseExpose(text: string): string[] {
  if (text.includes(':')) throw new UsageError(`invalid port format for --expose: ${text}`);
  const [ports, protocol = 'tcp'] = text.split('/') as [string, string?];
  const range = parseRange(ports);
  if (!range) {
    const reason = ports === '' ? 'empty string specified for ports' : rangeError(ports);
    throw new UsageError(`invalid range format for --expose: ${text}, error: ${reason}`);
  }
  return Array.from(
    { length: range.end - range.start + 1 },
    (_, offset) => `${range.start + offset}/${protocol}`,
  );
}
