/** The address pools of this machine. */

import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';

import { DEFAULT_POOLS, uniqueLocalPool, type AddressPool } from './ipam.ts';

/** Docker's pools for IPv4, and for IPv6 unique local subnets that follow from the machine's id. */
export function hostPools(): AddressPool[] {
  return [...DEFAULT_POOLS, uniqueLocalPool(machineId() ?? hostname())];
}

function machineId(): string | undefined {
  try {
    return readFileSync('/etc/machine-id', 'utf8').trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
