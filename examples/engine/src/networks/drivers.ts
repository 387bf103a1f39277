/** The network drivers by Docker's names for them, each with the translation of its options. */
import type {
  BridgeNetworkConfig,
  IntendedEndpoint,
  IpvlanNetworkConfig,
  MacvlanNetworkConfig,
  Network,
  NetworkConfig,
  NetworkDriver,
} from '@tare/netdriver';

import { invalid } from '../errors.ts';
import type { NetworkRecord, NetworkRow } from '../state/networks-table.ts';
import { bridgeConfig, commonConfig } from './driver-options.ts';

/** The drivers that networks can be made with. */
export interface NetworkDrivers {
  bridge: NetworkDriver<BridgeNetworkConfig>;
  macvlan?: NetworkDriver<MacvlanNetworkConfig>;
  ipvlan?: NetworkDriver<IpvlanNetworkConfig>;
}

/** One driver, asked in the engine's words. */
export interface NetworkKind {
  /** Everything that does not depend on what its networks are configured by. */
  driver: Omit<NetworkDriver, 'createNetwork' | 'reconcile'>;
  /** Whether its endpoints publish ports. */
  publishes: boolean;
  /** Refuses options that it cannot make anything of. @throws {EngineError} `INVALID` */
  check(record: NetworkRecord): void;
  create(record: NetworkRecord): Promise<Network>;
  reconcile(rows: readonly NetworkRow[], endpoints: readonly IntendedEndpoint[]): Promise<void>;
}

/** The kinds of networks that the drivers can make, by name. */
export function networkKinds({ bridge, macvlan, ipvlan }: NetworkDrivers): Map<string, NetworkKind> {
  const kinds = new Map([['bridge', kindOf(bridge, bridgeConfig, true)]]);
  if (macvlan) kinds.set('macvlan', kindOf(macvlan, macvlanConfig, false));
  if (ipvlan) kinds.set('ipvlan', kindOf(ipvlan, ipvlanConfig, false));
  return kinds;
}

function kindOf<Config extends NetworkConfig>(
  driver: NetworkDriver<Config>,
  config: (record: NetworkRecord) => Config,
  publishes: boolean,
): NetworkKind {
  return {
    driver,
    publishes,
    check: (record) => void config(record),
    create: (record) => driver.createNetwork(config(record)),
    reconcile: (rows, endpoints) =>
      driver.reconcile({
        // with what was chosen for them when they were made
        networks: rows.map(({ record, made }) => ({
          ...config(record),
          ...(made ? { subnets: made.subnets } : {}),
        })),
        endpoints,
      }),
  };
}

const MACVLAN_MODES = ['bridge', 'private', 'vepa', 'passthru'] as const;
const IPVLAN_MODES = ['l2', 'l3', 'l3s'] as const;
const IPVLAN_FLAGS = ['bridge', 'private', 'vepa'] as const;

function macvlanConfig(record: NetworkRecord): MacvlanNetworkConfig {
  return {
    ...commonConfig(record),
    ...parentOf(record),
    mode: choice('macvlan mode', record.options['macvlan_mode'], MACVLAN_MODES),
  };
}

function ipvlanConfig(record: NetworkRecord): IpvlanNetworkConfig {
  const { options } = record;
  return {
    ...commonConfig(record),
    ...parentOf(record),
    mode: choice('ipvlan mode', options['ipvlan_mode'], IPVLAN_MODES),
    flag: choice('ipvlan flag', options['ipvlan_flag'], IPVLAN_FLAGS),
  };
}

function parentOf({ options }: NetworkRecord): { parent?: string } {
  return options['parent'] ? { parent: options['parent'] } : {};
}

function choice<const T extends string>(
  what: string,
  value: string | undefined,
  known: readonly [T, ...T[]],
): T {
  if (value === undefined || value === '') return known[0];
  const found = known.find((one) => one === value);
  if (!found)
    throw invalid(
      `requested ${what} '${value}' is not valid, '${known[0]}' mode is the ${what.split(' ')[0]} driver default`,
    );
  return found;
}
