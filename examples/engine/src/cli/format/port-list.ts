/** The PORTS column: `0.0.0.0:8080->80/tcp`, neighbouring ports folded into ranges. */

/** A port as container listings carry it; `PublicPort` is absent for ports that are only exposed. */
export interface PortEntry {
  IP?: string;
  PrivatePort: number;
  PublicPort?: number;
  Type: string;
}

interface Group {
  first: number;
  last: number;
}

/** Renders the ports of one container in Docker's order: by protocol and number, folded groups first. */
export function displayPorts(ports: readonly PortEntry[]): string {
  const groups = new Map<string, Group>();
  const keys: string[] = [];
  const single: string[] = [];
  const sorted = [...ports].sort(comparePorts);
  const folded: string[] = [];
  for (const port of sorted) {
    const current = port.PrivatePort;
    let key = port.Type;
    if (port.IP) {
      if (port.PublicPort !== current) {
        single.push(`${joinHostPort(port.IP, port.PublicPort ?? 0)}->${current}/${port.Type}`);
        continue;
      }
      key = `${port.IP}/${port.Type}`;
    }
    const group = groups.get(key);
    if (!group) {
      groups.set(key, { first: current, last: current });
      keys.push(key);
    } else if (current === group.last + 1) group.last = current;
    else if (current !== group.last) {
      folded.push(formGroup(key, group));
      groups.set(key, { first: current, last: current });
    }
  }
  for (const key of keys) folded.push(formGroup(key, groups.get(key)!));
  return [...folded, ...single].join(', ');
}

function formGroup(key: string, { first, last }: Group): string {
  const slash = key.lastIndexOf('/');
  const ip = slash === -1 ? '' : key.slice(0, slash);
  const type = key.slice(slash + 1);
  const range = first === last ? String(first) : `${first}-${last}`;
  return ip === '' ? `${range}/${type}` : `${joinHostPort(ip, range)}->${range}/${type}`;
}

/** IPv6 addresses get brackets. */
export function joinHostPort(ip: string, port: number | string): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

function comparePorts(a: PortEntry, b: PortEntry): number {
  if (a.PrivatePort !== b.PrivatePort) return a.PrivatePort - b.PrivatePort;
  if ((a.IP ?? '') !== (b.IP ?? '')) return (a.IP ?? '') < (b.IP ?? '') ? -1 : 1;
  if (a.PublicPort !== b.PublicPort) return (a.PublicPort ?? 0) - (b.PublicPort ?? 0);
  return a.Type < b.Type ? -1 : Number(a.Type > b.Type);
}
