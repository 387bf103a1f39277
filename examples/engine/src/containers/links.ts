/**
 * Links: another container under a name of one's own. On the default bridge they are lines of /etc/hosts and variables
 * of the environment, as of old; on networks of users' the name server answers them (`name-servers.ts`).
 */
import { conflict, invalid, notFound } from '../errors.ts';
import type { HostConfig } from './host-config.ts';
import { shortId } from './names.ts';
import type { LiveContainer } from './store.ts';
import type { ContainerWorld } from './world.ts';

/** Splits `name:alias`; without an alias the name is it. @throws {EngineError} `INVALID` */
export function parseLink(text: string): { name: string; alias: string } {
  // what inspect shows can be given again
  const shown = /^\/([^:]+):\/[^/]+\/(.+)$/.exec(text);
  const [name = '', alias = name, ...more] = shown ? [shown[1]!, shown[2]!] : text.split(':');
  if (name === '' || alias === '' || more.length > 0) throw invalid(`bad format for links: ${text}`);
  return { name: name.replace(/^\//, ''), alias };
}

/** The links of a new container as it keeps them: `/other:/own/alias`. @throws {EngineError} `NOT_FOUND`, `INVALID` */
export function newLinks(world: ContainerWorld, host: HostConfig, ownName: string): string[] | undefined {
  return host.Links?.map((text) => {
    const { name, alias } = parseLink(text);
    try {
      return `/${world.store.find(name).name}:/${ownName}/${alias}`;
    } catch (error) {
      throw notFound(`could not get container for ${name}: ${(error as Error).message}`, { cause: error });
    }
  });
}

/** One link of a container that runs. */
interface LiveLink {
  alias: string;
  peer: LiveContainer;
  address: string;
}

/** The containers that one on the default bridge is linked to. @throws {EngineError} `CONFLICT` when one does not run */
export function liveLinks(world: ContainerWorld, { record }: LiveContainer): LiveLink[] {
  return (record.hostConfig.Links ?? []).map((text) => {
    const { name, alias } = parseLink(text);
    const peer = world.store.find(name);
    const address = peer.state.networks['bridge']?.endpoint?.ipv4Address?.split('/')[0];
    if (!peer.state.running || address === undefined) {
      throw conflict(`Cannot link to a non running container: /${peer.name} AS /${record.name}/${alias}`);
    }
    return { alias, peer, address };
  });
}

/** Lines of /etc/hosts for links; those whose container does not run just now have none. */
export function linkHosts(
  world: ContainerWorld,
  container: LiveContainer,
): { address: string; names: string[] }[] {
  return (container.record.hostConfig.Links ?? []).flatMap((text) => {
    const { name, alias } = parseLink(text);
    let peer: LiveContainer;
    try {
      peer = world.store.find(name);
    } catch {
      // removed since
      return [];
    }
    const address = peer.state.networks['bridge']?.endpoint?.ipv4Address?.split('/')[0];
    const own = peer.record.config.Hostname || shortId(peer.id);
    return address === undefined ? [] : [{ address, names: [alias, own, peer.name] }];
  });
}

/** The environment's variables for links. @throws {EngineError} `CONFLICT` when a container does not run */
export function linkEnv(world: ContainerWorld, container: LiveContainer): string[] {
  return liveLinks(world, container).flatMap(({ alias, peer, address }) => {
    const prefix = alias.replaceAll('-', '_').toUpperCase();
    const ports = Object.keys(peer.record.config.ExposedPorts ?? {})
      .map((key) => {
        const [port = '', protocol = 'tcp'] = key.split('/');
        return { port, protocol };
      })
      .sort(
        (a, b) =>
          Number(b.protocol === 'tcp') - Number(a.protocol === 'tcp') || Number(a.port) - Number(b.port),
      );
    const [first] = ports;
    return [
      ...(first ? [`${prefix}_PORT=${first.protocol}://${address}:${first.port}`] : []),
      ...ports.flatMap(({ port, protocol }) => {
        const name = `${prefix}_PORT_${port}_${protocol.toUpperCase()}`;
        return [
          `${name}=${protocol}://${address}:${port}`,
          `${name}_ADDR=${address}`,
          `${name}_PORT=${port}`,
          `${name}_PROTO=${protocol}`,
        ];
      }),
      `${prefix}_NAME=/${container.name}/${alias}`,
      ...(peer.record.config.Env ?? [])
        .filter((entry) => entry.includes('=') && !/^(HOME|PATH)=/.test(entry))
        .map((entry) => `${prefix}_ENV_${entry}`),
    ];
  });
}
