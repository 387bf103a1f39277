/** Checks what the bridge driver is asked to make. */

import type { NetworkConfig } from './driver.ts';
import { NetworkError } from './errors.ts';

/** `IFNAMSIZ` without the NUL. */
const NAME_BYTES = 15;
/** The least that IPv4 runs over (RFC 791), and the most that a 16-bit length can say. */
const MTU = { least: 68, most: 65535 } as const;
const DEFAULT_MTU = 1500;

/** The settings of a network that do not depend on the state of the host. */
export interface NetworkSettings {
  id: string;
  bridgeName: string;
  mtu: number;
  internal: boolean;
  icc: boolean;
  masquerade: boolean;
}

/** @throws {NetworkError} `INVALID_CONFIG` */
export function checkNetwork(config: NetworkConfig): NetworkSettings {
  const { id, bridgeName, mtu = DEFAULT_MTU, internal = false, icc = true, masquerade = true } = config;
  // the link alias that holds it is at most 255 bytes long
  if (!/^[\x21-\x7e]{1,128}$/.test(id)) {
    throw invalid(`network id "${id}" is not 1 to 128 printable characters without spaces`);
  }
  checkInterfaceName(bridgeName);
  if (!Number.isInteger(mtu) || mtu < MTU.least || mtu > MTU.most) {
    throw invalid(`MTU ${mtu} of network ${id} is not from ${MTU.least} to ${MTU.most}`);
  }
  return { id, bridgeName, mtu, internal, icc, masquerade };
}

/**
 * Interface names become file names below `/proc/sys/net`, so they are held to letters, digits and `_ . -`.
 *
 * @throws {NetworkError} `INVALID_CONFIG`
 */
export function checkInterfaceName(name: string): void {
  if (!/^[\w.-]+$/.test(name) || name === '.' || name === '..' || name.length > NAME_BYTES) {
    throw invalid(
      `interface name "${name}" is not 1 to ${NAME_BYTES} letters, digits, underscores, dots and hyphens`,
    );
  }
  if (['all', 'default', 'lo'].includes(name))
    throw invalid(`interface name "${name}" is taken by the kernel`);
}

function invalid(message: string): NetworkError {
  return new NetworkError('INVALID_CONFIG', message);
}
