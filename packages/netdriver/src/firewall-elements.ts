/** Networks, endpoints and published ports as elements of the firewall's sets. */

import type { PublishedPort } from './driver.ts';
import type { FirewallEndpoint, FirewallNetwork } from './firewall.ts';
import { addressBytes } from './netlink/ip-address.ts';
import { macBytes } from './netlink/link.ts';
import type { GUARD_SETS } from './nftables/guard-ruleset.ts';
import { ifnameBytes, NFPROTO, portBytes, type SetElement } from './nftables/message.ts';
import { INTO_CHAIN, type SETS } from './nftables/ruleset.ts';
import { ANY_IPV4, ANY_IPV6, familyOf, PROTOCOL_NUMBER } from './ports.ts';

/** An element with the set that it belongs to. */
export interface Element {
  set: keyof typeof SETS | keyof typeof GUARD_SETS;
  element: SetElement;
}

/** What makes a network. */
export function networkElements(network: FirewallNetwork): Element[] {
  const { bridgeName, internal, icc, trustedInterfaces, ipv4, ipv6 } = network;
  const name = ifnameBytes(bridgeName);
  const within = icc ? ({ code: 'accept' } as const) : ({ code: 'goto', chain: INTO_CHAIN } as const);
  const elements: Element[] = [
    { set: 'bridges', element: { key: [name] } },
    { set: 'same', element: { key: [name, name] } },
    { set: 'pairs', element: { key: [name, name], data: within } },
  ];
  if (internal) elements.push({ set: 'internal', element: { key: [name] } });
  for (const trusted of new Set(trustedInterfaces)) {
    elements.push({ set: 'trusted', element: { key: [ifnameBytes(trusted), name] } });
  }
  for (const [proto, family] of [
    [NFPROTO.IPV4, ipv4],
    [NFPROTO.IPV6, ipv6],
  ] as const) {
    if (!family) continue;
    const key = [Uint8Array.of(proto), name];
    const is4 = proto === NFPROTO.IPV4;
    if (family.masquerade && !internal) {
      elements.push({ set: 'masquerade', element: { key } });
      if (family.sourceAddress !== undefined) {
        const data = [addressBytes(family.sourceAddress)];
        elements.push({ set: is4 ? 'source4' : 'source6', element: { key: [name], data } });
      }
    }
    if (family.mode === 'routed') elements.push({ set: 'routed', element: { key } });
    if (family.mode === 'nat-unprotected') elements.push({ set: 'unprotected', element: { key } });
    for (const gateway of family.gateways) {
      elements.push({ set: is4 ? 'owned4' : 'owned6', element: { key: [addressBytes(gateway)] } });
    }
  }
  return elements;
}

/** What makes an endpoint, with its ports as they come and go. */
export class EndpointElements {
  readonly #endpoint: FirewallEndpoint;
  readonly #ports = new Map<string, PublishedPort>();
  /** How many published ports lead to a container's port. */
  readonly #open = new Map<string, number>();

  constructor(endpoint: FirewallEndpoint) {
    this.#endpoint = endpoint;
    this.add(endpoint.ports);
  }

  /** Every element. */
  all(): Element[] {
    const {
      id: comment,
      bridgeName,
      hostInterfaceName,
      macAddress,
      ipv4Address,
      ipv6Address,
    } = this.#endpoint;
    const port = ifnameBytes(hostInterfaceName);
    const mac = macBytes(macAddress);
    const elements: Element[] = [
      { set: 'ports', element: { key: [port], comment } },
      { set: 'ownedMac', element: { key: [mac], comment } },
      { set: 'ownMac', element: { key: [port, mac], comment } },
    ];
    for (const [family, text] of [
      [4, ipv4Address],
      [6, ipv6Address],
    ] as const) {
      if (text === undefined) continue;
      const address = addressBytes(text);
      elements.push(
        { set: `endpoints${family}`, element: { key: [address, ifnameBytes(bridgeName)], comment } },
        { set: `owned${family}`, element: { key: [address], comment } },
        { set: `own${family}`, element: { key: [port, address], comment } },
        { set: `self${family}`, element: { key: [port, mac, address], comment } },
      );
    }
    for (const published of this.#ports.values()) elements.push(...this.#publishing(published));
    const opened = new Set<string>();
    for (const published of this.#ports.values()) {
      const key = openKey(published);
      if (opened.has(key)) continue;
      opened.add(key);
      elements.push(...this.#opening(published));
    }
    return elements;
  }

  /** Keeps ports, and returns the elements that they add. */
  add(ports: readonly PublishedPort[]): Element[] {
    return ports.flatMap((published) => {
      const key = portKey(published);
      if (this.#ports.has(key)) return [];
      this.#ports.set(key, published);
      const count = this.#open.get(openKey(published)) ?? 0;
      this.#open.set(openKey(published), count + 1);
      return [...this.#publishing(published), ...(count === 0 ? this.#opening(published) : [])];
    });
  }

  /** Forgets ports, and returns the elements that go with them. */
  remove(ports: readonly PublishedPort[]): Element[] {
    return ports.flatMap((published) => {
      if (!this.#ports.delete(portKey(published))) return [];
      const key = openKey(published);
      const count = (this.#open.get(key) ?? 1) - 1;
      if (count > 0) this.#open.set(key, count);
      else this.#open.delete(key);
      return [...this.#publishing(published), ...(count === 0 ? this.#opening(published) : [])];
    });
  }

  #publishing({ protocol, hostIp, hostPort, containerPort }: PublishedPort): Element[] {
    const { id: comment } = this.#endpoint;
    const address = this.#address(hostIp);
    // reached at its own address: nothing to translate
    if (address === undefined || address === hostIp) return [];
    const number = Uint8Array.of(PROTOCOL_NUMBER[protocol]);
    const data = [addressBytes(address), portBytes(containerPort)];
    const set = `published${familyOf(hostIp)}` as const;
    if (hostIp === ANY_IPV4 || hostIp === ANY_IPV6) {
      return [{ set: `${set}any`, element: { key: [number, portBytes(hostPort)], data, comment } }];
    }
    return [{ set, element: { key: [addressBytes(hostIp), number, portBytes(hostPort)], data, comment } }];
  }

  #opening({ protocol, hostIp, containerPort }: PublishedPort): Element[] {
    const address = this.#address(hostIp);
    if (address === undefined) return [];
    const key = [addressBytes(address), Uint8Array.of(PROTOCOL_NUMBER[protocol]), portBytes(containerPort)];
    return [{ set: `open${familyOf(hostIp)}`, element: { key, comment: this.#endpoint.id } }];
  }

  /** The endpoint's address of the family of a host's. */
  #address(hostIp: string): string | undefined {
    return familyOf(hostIp) === 4 ? this.#endpoint.ipv4Address : this.#endpoint.ipv6Address;
  }
}

function portKey({ protocol, hostIp, hostPort }: PublishedPort): string {
  return `${protocol} ${hostIp} ${hostPort}`;
}

function openKey({ protocol, hostIp, containerPort }: PublishedPort): string {
  return `${familyOf(hostIp)} ${protocol} ${containerPort}`;
}
