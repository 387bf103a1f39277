/**
 * What every network driver must do, as far as it shows without sending a packet. Run it over your own:
 *
 * ```ts
 * import { describe, it } from 'vitest'; // or node:test
 * import { networkDriverSuite } from '@tare/netdriver/testing';
 * networkDriverSuite({ describe, it }, 'my driver', async () => new MyHarness());
 * ```
 */

import { parseAddress, parseCidr } from '../address-range.ts';
import type { Endpoint, NetworkConfig, NetworkDriver } from '../driver.ts';
import { NetdriverError } from '../errors.ts';

/** The two functions needed of a test framework; vitest, jest, mocha and node:test have them. */
export interface TestFramework {
  describe(name: string, body: () => void): unknown;
  it(name: string, body: () => Promise<void>): unknown;
}

/** A driver and what it is tried on. Disposing removes everything. */
export interface DriverHarness<Config extends NetworkConfig = NetworkConfig> extends AsyncDisposable {
  readonly driver: NetworkDriver<Config>;
  /** Two IPv4 subnets of 16 addresses or more each that nothing else uses. */
  readonly subnets: readonly [string, string];
  /** An IPv6 subnet that nothing else uses; absent when the driver has no IPv6 here. */
  readonly subnet6?: string;
  /** Completes a configuration by what this driver needs beside, other names of interfaces at each call. */
  config(common: NetworkConfig): Config;
  /** Path of a new, empty sandbox. */
  sandbox(): Promise<string>;
  /** Ends a sandbox, as a container that exits does. */
  removeSandbox(path: string): Promise<void>;
  /** A driver as another process would make it after this one died without a word; `driver` is not used after it. */
  restart(): Promise<NetworkDriver<Config>>;
}

/** What some drivers cannot do by their nature. */
export interface DriverTraits {
  /** Publishes ports on the host. Default true. */
  publishes?: boolean;
  /** Endpoints have MAC addresses of their own. Default true. */
  ownMacAddresses?: boolean;
}

/** Registers the conformance tests of {@link NetworkDriver} under `name`. */
export function networkDriverSuite<Config extends NetworkConfig>(
  { describe, it }: TestFramework,
  name: string,
  create: () => Promise<DriverHarness<Config>>,
  { publishes = true, ownMacAddresses = true }: DriverTraits = {},
): void {
  type Harness = DriverHarness<Config>;

  function test(sentence: string, body: (harness: Harness) => Promise<void>): void {
    it(sentence, async () => {
      await using harness = await create();
      await body(harness);
    });
  }

  /** A network `n` on the first subnet. */
  async function network({ driver, subnets, config: complete }: Harness) {
    const config = complete({ id: 'n', subnets: [{ subnet: subnets[0] }] });
    const made = await driver.createNetwork(config);
    return { config, made, subnet: subnets[0], gateway: made.subnets[0]!.gateway };
  }

  describe(`${name} as a network driver`, () => {
    test('gives the network the first address of the subnet', async (harness) => {
      const { made, subnet, gateway } = await network(harness);
      equal(made.id, 'n');
      equal(made.subnets[0]!.subnet, subnet);
      equal(parseAddress(gateway!).value, parseCidr(subnet).range.first + 1n);
      equal(same(await harness.driver.networks(), [made]), true);
    });

    test('chooses a subnet when none is named, another one for each network', async ({ driver, config }) => {
      const first = await driver.createNetwork(config({ id: 'a' }));
      const second = await driver.createNetwork(config({ id: 'b' }));
      const [a, b] = [first.subnets[0]!.subnet, second.subnets[0]!.subnet];
      if (a === b) throw new Error(`both networks got ${a}`);
    });

    test('makes the same network once, and refuses another by its id', async (harness) => {
      const { config, made } = await network(harness);
      equal(same(await harness.driver.createNetwork(config), made), true);
      await rejectsWith('ALREADY_EXISTS', () => harness.driver.createNetwork({ ...config, mtu: 1400 }));
    });

    test('refuses a subnet that overlaps another network', async (harness) => {
      const { subnet } = await network(harness);
      await rejectsWith('ADDRESS_OVERLAP', () =>
        harness.driver.createNetwork(harness.config({ id: 'o', subnets: [{ subnet }] })),
      );
      equal((await harness.driver.networks()).length, 1);
    });

    test('refuses what it cannot make', async ({ driver, subnets, config }) => {
      const [subnet] = subnets;
      for (const wrong of [
        { subnets: [{ subnet: 'nonsense' }] },
        { subnets: [{ subnet: '10.0.0.0/33' }] },
        { subnets: [{ subnet, gateway: '203.0.113.1' }] },
        { subnets: [{ subnet, ipRange: '203.0.113.0/28' }] },
        { subnets: [{ subnet, reserved: ['203.0.113.7'] }] },
        { subnets: [{ subnet }, { subnet }] },
        { ipv4: false, subnets: [{ subnet }] },
        { ipv4: false },
        { subnets: [{ subnet }], mtu: 1 },
      ]) {
        const code = wrong.subnets?.length === 2 ? 'ADDRESS_OVERLAP' : 'INVALID_CONFIG';
        await rejectsWith(code, () => driver.createNetwork(config({ id: 'bad', ...wrong })));
      }
      equal((await driver.networks()).length, 0);
    });

    test('keeps addresses that are reserved or outside of the range to itself', async (harness) => {
      const { driver, subnets, config } = harness;
      const [subnet] = subnets;
      const at = (offset: bigint) => addressAt(subnet, offset);
      const reserved = [at(2n), at(3n)];
      const ipRange = `${at(0n)}/29`;
      await driver.createNetwork(config({ id: 'n', subnets: [{ subnet, reserved, ipRange }] }));
      const given: string[] = [];
      for (let i = 0; i < 4; i++) {
        const endpoint = await driver.attach('n', { id: `e${i}`, sandbox: await harness.sandbox() });
        given.push(addressOf(endpoint));
      }
      equal(same(given, [4n, 5n, 6n, 7n].map(at)), true);
      const sandbox = await harness.sandbox();
      await rejectsWith('NO_FREE_ADDRESS', () => driver.attach('n', { id: 'more', sandbox }));
    });

    test('goes on in the second subnet when the first one is full', async (harness) => {
      const { driver, subnets, config } = harness;
      const ipRange = `${addressAt(subnets[0], 0n)}/30`;
      const made = await driver.createNetwork(
        config({ id: 'n', subnets: [{ subnet: subnets[0], ipRange }, { subnet: subnets[1] }] }),
      );
      const endpoints: Endpoint[] = [];
      for (let i = 0; i < 3; i++) {
        endpoints.push(await driver.attach('n', { id: `e${i}`, sandbox: await harness.sandbox() }));
      }
      equal(
        same(endpoints.map(addressOf), [
          addressAt(subnets[0], 2n),
          addressAt(subnets[0], 3n),
          addressAt(subnets[1], 2n),
        ]),
        true,
      );
      equal(endpoints[2]!.gateway, made.subnets[1]!.gateway);
    });

    test('gives addresses of both families, or of IPv6 alone', async (harness) => {
      const { driver, subnets, subnet6, config } = harness;
      if (subnet6 === undefined) return;
      const both = config({ id: 'both', ipv6: true, subnets: [{ subnet: subnets[0] }, { subnet: subnet6 }] });
      const made = await driver.createNetwork(both);
      const sandbox = await harness.sandbox();
      const endpoint = await driver.attach('both', { id: 'e', sandbox });
      equal(addressOf(endpoint), addressAt(subnets[0], 2n));
      equal(endpoint.ipv6Address, `${subnet6.replace(/::\/.*/, '::2')}/${prefix(subnet6)}`);
      equal(endpoint.gateway6, made.subnets[1]!.gateway);
      await rejectsWith('INVALID_CONFIG', () =>
        driver.attach('both', { id: 'f', sandbox, ipv6Address: addressAt(subnets[0], 9n) }),
      );
      await driver.detach('both', 'e');
      await driver.removeNetwork('both');
      await driver.createNetwork(
        config({ id: 'six', ipv4: false, ipv6: true, subnets: [{ subnet: subnet6 }] }),
      );
      const alone = await driver.attach('six', { id: 'e', sandbox: await harness.sandbox() });
      equal(alone.ipv4Address, undefined);
      equal(alone.gateway, undefined);
    });

    test('attaches endpoints with addresses of their own', async (harness) => {
      const { subnet, gateway } = await network(harness);
      const { driver } = harness;
      const first = await driver.attach('n', { id: 'one', sandbox: await harness.sandbox() });
      const second = await driver.attach('n', { id: 'two', sandbox: await harness.sandbox() });
      equal(first.networkId, 'n');
      equal(first.interfaceName, 'eth0');
      equal(first.gateway, gateway);
      equal(addressOf(first) === addressOf(second), false);
      equal(first.macAddress === second.macAddress, !ownMacAddresses);
      for (const endpoint of [first, second])
        equal(parseCidr(endpoint.ipv4Address!).range.prefixLength, prefix(subnet));
      equal(same(await driver.endpoints('n'), [first, second]), true);
    });

    test('gives the address, MAC and interface name that are asked for', async (harness) => {
      await network(harness);
      const ipv4Address = addressAt(harness.subnets[0], 9n);
      const endpoint = await harness.driver.attach('n', {
        id: 'fixed',
        sandbox: await harness.sandbox(),
        ipv4Address,
        macAddress: '02:00:5e:10:00:01',
        interfaceName: 'net7',
        defaultRoute: false,
      });
      equal(addressOf(endpoint), ipv4Address);
      if (ownMacAddresses) equal(endpoint.macAddress, '02:00:5e:10:00:01');
      equal(endpoint.interfaceName, 'net7');
      equal(endpoint.gateway, undefined);
      const sandbox = await harness.sandbox();
      await rejectsWith('ADDRESS_IN_USE', () =>
        harness.driver.attach('n', { id: 'again', sandbox, ipv4Address }),
      );
      await rejectsWith('INVALID_CONFIG', () =>
        harness.driver.attach('n', { id: 'again', sandbox, ipv4Address: '203.0.113.9' }),
      );
      equal((await harness.driver.endpoints('n')).length, 1);
    });

    test('attaches one sandbox to two networks', async (harness) => {
      await network(harness);
      const { driver, subnets, config } = harness;
      await driver.createNetwork(config({ id: 'm', subnets: [{ subnet: subnets[1] }] }));
      const sandbox = await harness.sandbox();
      await driver.attach('n', { id: 'e', sandbox });
      const second = { id: 'e', sandbox, interfaceName: 'eth1', defaultRoute: false };
      equal((await driver.attach('m', second)).interfaceName, 'eth1');
    });

    test('moves the default route from one network to another', async (harness) => {
      const { gateway } = await network(harness);
      const { driver, subnets, config } = harness;
      const other = await driver.createNetwork(config({ id: 'm', subnets: [{ subnet: subnets[1] }] }));
      const sandbox = await harness.sandbox();
      equal((await driver.attach('n', { id: 'e', sandbox })).gateway, gateway);
      await driver.attach('m', { id: 'e', sandbox, interfaceName: 'eth1', defaultRoute: false });
      await driver.setDefaultRoute('n', 'e', false);
      equal((await driver.setDefaultRoute('m', 'e', true)).gateway, other.subnets[0]!.gateway);
      equal((await driver.endpoints('n'))[0]!.gateway, undefined);
      // in place of the one that is there
      equal((await driver.setDefaultRoute('n', 'e', true)).gateway, gateway);
      await rejectsWith('NOT_FOUND', () => driver.setDefaultRoute('n', 'nobody', true));
    });

    test('does not hand out a just released address while another is free', async (harness) => {
      await network(harness);
      const { driver } = harness;
      const first = await driver.attach('n', { id: 'a', sandbox: await harness.sandbox() });
      await driver.detach('n', 'a');
      const second = await driver.attach('n', { id: 'b', sandbox: await harness.sandbox() });
      equal(addressOf(first) === addressOf(second), false);
    });

    test('says what an endpoint cannot be attached to', async (harness) => {
      await network(harness);
      const { driver } = harness;
      const sandbox = await harness.sandbox();
      await rejectsWith('NOT_FOUND', () => driver.attach('nowhere', { id: 'e', sandbox }));
      await rejectsWith('NOT_FOUND', () => driver.attach('n', { id: 'e', sandbox: `${sandbox}-gone` }));
      await driver.attach('n', { id: 'e', sandbox });
      await rejectsWith('ALREADY_EXISTS', () => driver.attach('n', { id: 'e', sandbox }));
      equal((await driver.endpoints('n')).length, 1);
    });

    const publishing = publishes ? test : () => undefined;

    publishing('publishes ports: fixed, of a range, and any', async (harness) => {
      await network(harness);
      const { driver } = harness;
      const any = await driver.attach('n', {
        id: 'any',
        sandbox: await harness.sandbox(),
        ports: [
          { protocol: 'tcp', containerPort: 80 },
          { protocol: 'udp', containerPort: 53 },
        ],
      });
      equal(new Set(any.ports.map(({ protocol, hostPort }) => `${hostPort}/${protocol}`)).size, 2);
      const taken = any.ports[0]!.hostPort;
      equal(taken > 0 && taken < 65536, true);
      const ranged = await driver.attach('n', {
        id: 'range',
        sandbox: await harness.sandbox(),
        ports: [
          { protocol: 'tcp', containerPort: 80, hostPort: { from: taken, to: Math.min(taken + 20, 65535) } },
        ],
      });
      equal(ranged.ports[0]!.hostPort > taken, true);
    });

    publishing(
      'refuses a port that is taken, names it, and leaves nothing of the attempt',
      async (harness) => {
        await network(harness);
        const { driver } = harness;
        const ports = [{ protocol: 'tcp' as const, containerPort: 80 }];
        const first = await driver.attach('n', { id: 'first', sandbox: await harness.sandbox(), ports });
        const { hostPort } = first.ports[0]!;
        const sandbox = await harness.sandbox();
        const again = {
          id: 'second',
          sandbox,
          ports: [{ protocol: 'tcp' as const, containerPort: 80, hostPort }],
        };
        const error = await rejectsWith('PORT_IN_USE', () => driver.attach('n', again));
        equal((error as { port?: number }).port, hostPort);
        equal((error as { ip?: string }).ip, '0.0.0.0');
        equal((await driver.endpoints('n')).length, 1);
        await driver.detach('n', 'first');
        equal((await driver.attach('n', again)).ports[0]!.hostPort, hostPort);
      },
    );

    publishing('publishes more ports of an endpoint, and takes them back', async (harness) => {
      await network(harness);
      const { driver } = harness;
      await driver.attach('n', { id: 'e', sandbox: await harness.sandbox() });
      const ports = await driver.publish('n', 'e', [{ protocol: 'tcp', containerPort: 80 }]);
      equal(same((await driver.endpoints('n'))[0]!.ports, ports), true);
      const { hostPort } = ports[0]!;
      const again = [
        { protocol: 'tcp' as const, containerPort: 81 },
        { protocol: 'tcp' as const, containerPort: 82, hostPort },
      ];
      await rejectsWith('PORT_IN_USE', () => driver.publish('n', 'e', again));
      equal(same((await driver.endpoints('n'))[0]!.ports, ports), true);
      await driver.unpublish('n', 'e', ports);
      await driver.unpublish('n', 'e', ports);
      equal((await driver.endpoints('n'))[0]!.ports.length, 0);
      equal((await driver.publish('n', 'e', [again[1]!]))[0]!.hostPort, hostPort);
      await rejectsWith('NOT_FOUND', () => driver.publish('n', 'nobody', []));
    });

    test('detaches once, and does nothing the second time', async (harness) => {
      await network(harness);
      const { driver } = harness;
      const sandbox = await harness.sandbox();
      await driver.attach('n', { id: 'e', sandbox });
      await driver.detach('n', 'e');
      await driver.detach('n', 'e');
      await driver.detach('nowhere', 'e');
      equal((await driver.endpoints('n')).length, 0);
      // the same sandbox and interface name, at once
      await driver.attach('n', { id: 'e', sandbox });
    });

    test('detaches an endpoint whose sandbox is gone', async (harness) => {
      await network(harness);
      const sandbox = await harness.sandbox();
      await harness.driver.attach('n', { id: 'e', sandbox });
      await harness.removeSandbox(sandbox);
      await harness.driver.detach('n', 'e');
      await harness.driver.removeNetwork('n');
    });

    test('keeps a network while endpoints are attached', async (harness) => {
      await network(harness);
      const { driver } = harness;
      await driver.attach('n', { id: 'e', sandbox: await harness.sandbox() });
      await rejectsWith('IN_USE', () => driver.removeNetwork('n'));
      await driver.detach('n', 'e');
      await driver.removeNetwork('n');
      await driver.removeNetwork('n');
      equal((await driver.networks()).length, 0);
    });

    test('does nothing once its signal has aborted', async (harness) => {
      await network(harness);
      const { driver, subnets } = harness;
      const reason = new Error('changed my mind');
      const signal = AbortSignal.abort(reason);
      const sandbox = await harness.sandbox();
      equal(await rejection(() => driver.attach('n', { id: 'e', sandbox }, { signal })), reason);
      const other = harness.config({ id: 'm', subnets: [{ subnet: subnets[1] }] });
      equal(await rejection(() => driver.createNetwork(other, { signal })), reason);
      equal((await driver.networks()).length, 1);
      equal((await driver.endpoints('n')).length, 0);
    });

    test('gives twenty endpoints at a time twenty addresses', async (harness) => {
      const { driver, config } = harness;
      await driver.createNetwork(config({ id: 'wide' }));
      const endpoints = await Promise.all(
        Array.from({ length: 20 }, async (_, i) =>
          driver.attach('wide', {
            id: `e${i}`,
            sandbox: await harness.sandbox(),
            ports: publishes ? [{ protocol: 'tcp', containerPort: 80 }] : [],
          }),
        ),
      );
      equal(new Set(endpoints.map(addressOf)).size, 20);
      if (publishes) equal(new Set(endpoints.map(({ ports }) => ports[0]!.hostPort)).size, 20);
      await Promise.all(endpoints.map(({ id }) => driver.detach('wide', id)));
      equal((await driver.endpoints('wide')).length, 0);
    });

    test('takes up after a restart what is intended, and nothing else', async (harness) => {
      const { config, made } = await network(harness);
      const ports = publishes ? [{ protocol: 'tcp' as const, containerPort: 80 }] : [];
      const [kept, orphaned, ended] = [
        await harness.sandbox(),
        await harness.sandbox(),
        await harness.sandbox(),
      ];
      const endpoint = await harness.driver.attach('n', { id: 'kept', sandbox: kept, ports });
      await harness.driver.attach('n', { id: 'orphan', sandbox: orphaned, ports });
      const gone = await harness.driver.attach('n', { id: 'gone', sandbox: ended });
      await harness.removeSandbox(ended);

      const driver = await harness.restart();
      await driver.reconcile({
        networks: [{ ...config, subnets: made.subnets }],
        endpoints: [
          { networkId: 'n', endpoint, sandbox: kept },
          { networkId: 'n', endpoint: gone, sandbox: ended },
        ],
      });
      equal(same(await driver.networks(), [made]), true);
      equal(same(await driver.endpoints('n'), [endpoint]), true);
      // its address and its port are its own again
      const sandbox = await harness.sandbox();
      const taken = { id: 'new', sandbox, ipv4Address: addressOf(endpoint) };
      await rejectsWith('ADDRESS_IN_USE', () => driver.attach('n', taken));
      if (publishes) {
        const { hostPort } = endpoint.ports[0]!;
        await rejectsWith('PORT_IN_USE', () =>
          driver.attach('n', { id: 'new', sandbox, ports: [{ ...ports[0]!, hostPort }] }),
        );
      }
      await driver.detach('n', 'kept');
      await driver.removeNetwork('n');
    });

    test('removes everything that nobody intends', async (harness) => {
      await network(harness);
      const sandbox = await harness.sandbox();
      await harness.driver.attach('n', { id: 'e', sandbox });
      const driver = await harness.restart();
      await driver.reconcile({ networks: [], endpoints: [] });
      equal((await driver.networks()).length, 0);
      // what stood there is free again
      const [subnet] = harness.subnets;
      const again = await driver.createNetwork(harness.config({ id: 'n', subnets: [{ subnet }] }));
      equal(again.subnets[0]!.subnet, subnet);
      await driver.attach('n', { id: 'e', sandbox });
    });
  });
}

function addressOf(endpoint: Endpoint): string {
  return endpoint.ipv4Address?.split('/')[0] ?? '';
}

function prefix(subnet: string): number {
  return parseCidr(subnet).range.prefixLength;
}

function addressAt(subnet: string, offset: bigint): string {
  const value = parseCidr(subnet).range.first + offset;
  return [24n, 16n, 8n, 0n].map((shift) => Number((value >> shift) & 0xffn)).join('.');
}

function same(actual: unknown, expected: unknown): boolean {
  if (JSON.stringify(actual) === JSON.stringify(expected)) return true;
  throw new Error(`expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
}

function equal(actual: unknown, expected: unknown): void {
  if (!Object.is(actual, expected)) throw new Error(`expected ${String(expected)}, got ${String(actual)}`);
}

async function rejection(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error('expected a rejection, but it succeeded');
}

async function rejectsWith(code: string, work: () => Promise<unknown>): Promise<unknown> {
  const error = await rejection(work);
  if (!NetdriverError.is(error)) throw new Error(`expected ${code}, got ${String(error)}`, { cause: error });
  if (error.code !== code)
    throw new Error(`expected ${code}, got ${error.code}: ${error.message}`, { cause: error });
  return error;
}
