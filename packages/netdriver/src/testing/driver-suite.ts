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
import type { Endpoint, NetworkDriver } from '../driver.ts';
import { NetdriverError } from '../errors.ts';

/** The two functions needed of a test framework; vitest, jest, mocha and node:test have them. */
export interface TestFramework {
  describe(name: string, body: () => void): unknown;
  it(name: string, body: () => Promise<void>): unknown;
}

/** A driver and what it is tried on. Disposing removes everything. */
export interface DriverHarness extends AsyncDisposable {
  readonly driver: NetworkDriver;
  /** Two subnets of 16 addresses or more each that nothing else uses. */
  readonly subnets: readonly [string, string];
  /** An interface name that nothing else uses; another one at each call. */
  bridgeName(): string;
  /** Path of a new, empty sandbox. */
  sandbox(): Promise<string>;
  /** Ends a sandbox, as a container that exits does. */
  removeSandbox(path: string): Promise<void>;
  /** A driver as another process would make it after this one died without a word; `driver` is not used after it. */
  restart(): Promise<NetworkDriver>;
}

/** Registers the conformance tests of {@link NetworkDriver} under `name`. */
export function networkDriverSuite(
  { describe, it }: TestFramework,
  name: string,
  create: () => Promise<DriverHarness>,
): void {
  function test(sentence: string, body: (harness: DriverHarness) => Promise<void>): void {
    it(sentence, async () => {
      await using harness = await create();
      await body(harness);
    });
  }

  /** A network `n` on the first subnet. */
  async function network({ driver, subnets, bridgeName }: DriverHarness) {
    const config = { id: 'n', bridgeName: bridgeName(), subnet: subnets[0] };
    return { config, made: await driver.createNetwork(config) };
  }

  describe(`${name} as a network driver`, () => {
    test('gives the bridge the first address of the subnet', async (harness) => {
      const { config, made } = await network(harness);
      equal(made.id, 'n');
      equal(made.bridgeName, config.bridgeName);
      equal(made.subnet, config.subnet);
      equal(parseAddress(made.gateway).value, parseCidr(config.subnet).range.first + 1n);
      equal(same(await harness.driver.networks(), [made]), true);
    });

    test('chooses a subnet when none is named, another one for each network', async ({
      driver,
      bridgeName,
    }) => {
      const first = await driver.createNetwork({ id: 'a', bridgeName: bridgeName() });
      const second = await driver.createNetwork({ id: 'b', bridgeName: bridgeName() });
      if (first.subnet === second.subnet) throw new Error(`both networks got ${first.subnet}`);
    });

    test('makes the same network once, and refuses another by its id', async (harness) => {
      const { config, made } = await network(harness);
      equal(same(await harness.driver.createNetwork(config), made), true);
      await rejectsWith('ALREADY_EXISTS', () => harness.driver.createNetwork({ ...config, mtu: 1400 }));
    });

    test('refuses a subnet that overlaps another network', async (harness) => {
      const { config } = await network(harness);
      await rejectsWith('ADDRESS_OVERLAP', () =>
        harness.driver.createNetwork({ id: 'o', bridgeName: harness.bridgeName(), subnet: config.subnet }),
      );
      equal((await harness.driver.networks()).length, 1);
    });

    test('refuses what it cannot make', async ({ driver, subnets, bridgeName }) => {
      const [subnet] = subnets;
      const config = { id: 'bad', bridgeName: bridgeName() };
      for (const wrong of [
        { subnet: 'nonsense' },
        { subnet: '10.0.0.0/33' },
        { subnet, gateway: '203.0.113.1' },
        { subnet, ipRange: '203.0.113.0/28' },
        { subnet, mtu: 1 },
        { subnet, bridgeName: 'a name that is too long' },
        { subnet, bridgeName: '../../escape' },
      ]) {
        await rejectsWith('INVALID_CONFIG', () => driver.createNetwork({ ...config, ...wrong }));
      }
      equal((await driver.networks()).length, 0);
    });

    test('attaches endpoints with addresses of their own', async (harness) => {
      const { made } = await network(harness);
      const { driver } = harness;
      const first = await driver.attach('n', { id: 'one', sandbox: await harness.sandbox() });
      const second = await driver.attach('n', { id: 'two', sandbox: await harness.sandbox() });
      equal(first.networkId, 'n');
      equal(first.interfaceName, 'eth0');
      equal(first.gateway, made.gateway);
      equal(addressOf(first) === addressOf(second), false);
      equal(first.macAddress === second.macAddress, false);
      for (const endpoint of [first, second])
        equal(parseCidr(endpoint.ipv4Address).range.prefixLength, prefix(made.subnet));
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
      equal(endpoint.macAddress, '02:00:5e:10:00:01');
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
      const { driver, subnets, bridgeName } = harness;
      await driver.createNetwork({ id: 'm', bridgeName: bridgeName(), subnet: subnets[1] });
      const sandbox = await harness.sandbox();
      await driver.attach('n', { id: 'e', sandbox });
      const second = { id: 'e', sandbox, interfaceName: 'eth1', defaultRoute: false };
      equal((await driver.attach('m', second)).interfaceName, 'eth1');
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

    test('publishes ports: fixed, of a range, and any', async (harness) => {
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
      equal(any.ports.length, 2);
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

    test('refuses a port that is taken, names it, and leaves nothing of the attempt', async (harness) => {
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
      const { config } = await network(harness);
      const { driver, bridgeName, subnets } = harness;
      const reason = new Error('changed my mind');
      const signal = AbortSignal.abort(reason);
      const sandbox = await harness.sandbox();
      equal(await rejection(() => driver.attach('n', { id: 'e', sandbox }, { signal })), reason);
      const other = { ...config, id: 'm', bridgeName: bridgeName(), subnet: subnets[1] };
      equal(await rejection(() => driver.createNetwork(other, { signal })), reason);
      equal((await driver.networks()).length, 1);
      equal((await driver.endpoints('n')).length, 0);
    });

    test('gives twenty endpoints at a time twenty addresses', async (harness) => {
      const { driver, bridgeName } = harness;
      await driver.createNetwork({ id: 'wide', bridgeName: bridgeName() });
      const endpoints = await Promise.all(
        Array.from({ length: 20 }, async (_, i) =>
          driver.attach('wide', {
            id: `e${i}`,
            sandbox: await harness.sandbox(),
            ports: [{ protocol: 'tcp', containerPort: 80 }],
          }),
        ),
      );
      equal(new Set(endpoints.map(addressOf)).size, 20);
      equal(new Set(endpoints.map(({ ports }) => ports[0]!.hostPort)).size, 20);
      await Promise.all(endpoints.map(({ id }) => driver.detach('wide', id)));
      equal((await driver.endpoints('wide')).length, 0);
    });

    test('takes up after a restart what is intended, and nothing else', async (harness) => {
      const { config, made } = await network(harness);
      const ports = [{ protocol: 'tcp' as const, containerPort: 80 }];
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
        networks: [{ ...config, subnet: made.subnet, gateway: made.gateway }],
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
      const { hostPort } = endpoint.ports[0]!;
      await rejectsWith('PORT_IN_USE', () =>
        driver.attach('n', { id: 'new', sandbox, ports: [{ ...ports[0]!, hostPort }] }),
      );
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
      const again = await driver.createNetwork({
        id: 'n',
        bridgeName: harness.bridgeName(),
        subnet: harness.subnets[0],
      });
      equal(again.subnet, harness.subnets[0]);
      await driver.attach('n', { id: 'e', sandbox });
    });
  });
}

function addressOf(endpoint: Endpoint): string {
  return endpoint.ipv4Address.split('/')[0]!;
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
