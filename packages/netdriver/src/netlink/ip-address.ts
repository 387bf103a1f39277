/** IP addresses as netlink carries them: 4 or 16 bytes, network order. */

import { isIPv4, isIPv6 } from 'node:net';

/** Address families (`AF_*`). */
export const AF = { UNSPEC: 0, INET: 2, BRIDGE: 7, INET6: 10 } as const;

/**
 * The bytes of an address in text: 4 for IPv4, 16 for IPv6.
 *
 * @throws {RangeError} when it is neither
 */
export function addressBytes(text: string): Uint8Array {
  if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number);
  if (!isIPv6(text) || text.includes('%')) throw new RangeError(`"${text}" is not an IP address`);
  const bytes = new Uint8Array(16);
  const [head = '', tail] = text.split('::');
  const front = groups(head);
  bytes.set(front, 0);
  if (tail !== undefined) {
    const back = groups(tail);
    bytes.set(back, 16 - back.length);
  }
  return bytes;
}

/** The text of 4 or 16 bytes, IPv6 in its canonical form (RFC 5952); undefined for any other length. */
export function addressText(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) return undefined;
  const words = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16));
  // the URL parser knows how to shorten an address
  return new URL(`http://[${words.join(':')}]`).hostname.slice(1, -1);
}

/** The family of an address's bytes. */
export function addressFamily(bytes: Uint8Array): number {
  return bytes.length === 4 ? AF.INET : AF.INET6;
}

function groups(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    // the last group may be an IPv4 address
    if (group.includes('.')) return group.split('.').map(Number);
    const word = Number.parseInt(group, 16);
    return [word >> 8, word & 0xff];
  });
}
