/** What becomes of networks when the process that made them dies, and when others lay hands on them. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openNetlink } from '@tare/runtime-native/netlink';
import { expect, it } from 'vitest';

import { BridgeLinks } from '../src/bridge-links.ts';
import {
  createBridgeDriver,
  createNftablesFirewall,
  nativeKernel,
  type Endpoint,
  type Network,
} from '../src/index.ts';
import { decodeLink, deleteLink, dumpLinks, NetlinkConnection, type Link } from '../src/netlink/index.ts';
import { getTable, NFPROTO, NFT_MSG } from '../src/nftables/index.ts';
import {
  addressOf,
  describeInNamespace,
  host,
  Lab,
  uniqueName,
  uniqueSubnet,
  uniqueSubnet6,
} from './lab/namespaces.ts';
import type { Orders } from './lab/doomed.ts';

const SERVED = 80;
/** Every request of the kernel is tried with `--full`, else some, other ones at each run. */
const STRIDE = process.env['TARE_TEST_FULL'] === '1' ? 1 : 7;
const FIRST = 1 + Math.floor(Math.random() * STRIDE);

describeInNamespace('recovery of bridge networks', () => {
  it('takes up endpoints after kill -9, whose ports went on being reachable', async () => {
    await using lab = await Lab.open();
    const lan = await lab.lan({ routed: true });
    const neighbour = await lab.agent(lan.path);
    const driverName = uniqueName();
    const sandboxes = [await lab.sandbox(), await lab.sandbox()];
    const network = { id: 'n', bridgeName: uniqueName(), subnets: [{ subnet: uniqueSubnet() }] };
    const doomed = await startDoomed({
      driverName,
      network,
      endpoints: sandboxes.map((sandbox, i) => ({
        id: `e${i}`,
        sandbox,
        ports: [
          { protocol: 'tcp', containerPort: SERVED, hostIp: '0.0.0.0' },
          { protocol: 'udp', containerPort: SERVED, hostIp: '0.0.0.0' },
        ],
      })),
    });
    const { endpoints } = doomed.made;
    for (const [i, sandbox] of sandboxes.entries()) await (await lab.agent(sandbox)).serve(`e${i}`, SERVED);
    await doomed.kill();

    const [tcp, udp] = endpoints[0]!.ports.map(({ hostPort }) => hostPort) as [number, number];
    expect(await neighbour.tcp(lan.hostAddress, tcp)).toBe(`e0 ${lan.address}`);
    const driver = createBridgeDriver({ name: driverName });
    lab.defer(() => driver.destroy());
    await driver.reconcile({
      networks: [network],
      endpoints: endpoints.map((endpoint, i) => ({ networkId: 'n', endpoint, sandbox: sandboxes[i]! })),
    });
    expect(await driver.endpoints('n')).toEqual(endpoints);
    expect(await neighbour.tcp(lan.hostAddress, tcp)).toBe(`e0 ${lan.address}`);
    expect(await neighbour.udp(lan.hostAddress, udp)).toBe(`e0 ${lan.address}`);
    expect(await host.tcp('127.0.0.1', endpoints[1]!.ports[0]!.hostPort)).toMatch(/^e1 /);
    // held again
    const server = createServer();
    const [error] = (await once(server.listen(tcp, '0.0.0.0'), 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('EADDRINUSE');
    await driver.detach('n', 'e0');
    await neighbour.noTcp(lan.hostAddress, tcp);
  });

  it('leaves nothing after kill -9 in the middle of any request', { timeout: 300_000 }, async () => {
    await using lab = await Lab.open();
    const driverName = uniqueName();
    const sandbox = await lab.sandbox();
    const bridgeName = uniqueName();
    const subnet = uniqueSubnet();
    let survived = false;
    for (let dieAtRequest = FIRST; !survived; dieAtRequest += STRIDE) {
      survived = await runDoomed({
        driverName,
        network: { id: 'n', bridgeName, subnets: [{ subnet }] },
        endpoints: [{ id: 'e', sandbox, ports: [{ protocol: 'udp', containerPort: SERVED }] }],
        undo: true,
        dieAtRequest,
      });
      const driver = createBridgeDriver({ name: driverName });
      await driver.reconcile({ networks: [], endpoints: [] });
      expect(await linksOf(driverName), `links after request ${dieAtRequest}`).toEqual([]);
      await driver.destroy();
      expect(await tableExists(driverName), `table after request ${dieAtRequest}`).toBe(false);
    }
  });

  it('repairs a network that was killed half-made', { timeout: 300_000 }, async () => {
    await using lab = await Lab.open();
    const driverName = uniqueName();
    const sandbox = await lab.sandbox();
    const network = { id: 'n', bridgeName: uniqueName(), subnets: [{ subnet: uniqueSubnet() }] };
    // each of the requests that make a network
    for (let dieAtRequest = 1; dieAtRequest <= 15; dieAtRequest += Math.ceil(STRIDE / 2)) {
      await runDoomed({ driverName, network, endpoints: [{ id: 'e', sandbox }], dieAtRequest });
      const driver = createBridgeDriver({ name: driverName });
      await driver.reconcile({ networks: [network], endpoints: [] });
      const [made] = await driver.networks();
      await driver.attach('n', { id: 'again', sandbox });
      expect(await linkIsUp(network.bridgeName)).toBe(true);
      expect(made!.subnets[0]!.subnet).toBe(network.subnets[0]!.subnet);
      await driver.destroy();
    }
  });

  it('restores a bridge, and the link of an endpoint, that somebody deleted', async () => {
    await using lab = await Lab.open();
    const driver = createBridgeDriver({ name: uniqueName() });
    lab.defer(() => driver.destroy());
    const network = { id: 'n', bridgeName: uniqueName(), subnets: [{ subnet: uniqueSubnet() }] };
    await driver.createNetwork(network);
    const sandboxes = [await lab.sandbox(), await lab.sandbox()];
    const endpoints: Endpoint[] = [];
    for (const [i, sandbox] of sandboxes.entries()) {
      const ports = [{ protocol: 'tcp' as const, containerPort: SERVED }];
      endpoints.push(await driver.attach('n', { id: `e${i}`, sandbox, ports }));
      await (await lab.agent(sandbox)).serve(`e${i}`, SERVED);
    }
    using connection = new NetlinkConnection(openNetlink({ protocol: 'route' }));
    await connection.send(deleteLink({ name: network.bridgeName }));
    await connection.send(deleteLink({ name: endpoints[0]!.hostInterfaceName }));
    const ports = endpoints.map(({ ports }) => ports[0]!.hostPort);
    await host.noTcp('127.0.0.1', ports[1]!);

    await driver.reconcile({
      networks: [network],
      endpoints: endpoints.map((endpoint, i) => ({ networkId: 'n', endpoint, sandbox: sandboxes[i]! })),
    });
    expect(await driver.endpoints('n')).toEqual(endpoints);
    expect(await host.tcp('127.0.0.1', ports[0]!)).toMatch(/^e0 /);
    expect(await host.tcp('127.0.0.1', ports[1]!)).toMatch(/^e1 /);
  });

  it('takes an endpoint up without the port that another program took meanwhile, and says so', async () => {
    await using lab = await Lab.open();
    const { driver, name, endpoint, sandbox, network } = await publish(lab);
    await driver[Symbol.asyncDispose]();
    const { hostPort } = endpoint.ports[0]!;
    const server = createServer();
    await once(server.listen(hostPort, '0.0.0.0'), 'listening');
    const next = createBridgeDriver({ name });
    lab.defer(() => next.destroy());
    const error = await next
      .reconcile({ networks: [network], endpoints: [{ networkId: 'n', endpoint, sandbox }] })
      .catch((error: unknown) => error);
    expect(error).toMatchObject({
      code: 'RECONCILE_INCOMPLETE',
      errors: [{ code: 'PORT_IN_USE', ip: '0.0.0.0', port: hostPort }],
    });
    expect(await next.endpoints('n')).toEqual([{ ...endpoint, ports: [] }]);
    server.close();
  });

  it('makes the networks again after a reboot, which ended every sandbox', async () => {
    await using lab = await Lab.open();
    const name = uniqueName();
    const before = createBridgeDriver({ name });
    const subnets = [{ subnet: uniqueSubnet() }, { subnet: uniqueSubnet6() }];
    const network = { id: 'n', bridgeName: uniqueName(), ipv6: true, subnets };
    const made = await before.createNetwork(network);
    const sandbox = await lab.sandbox();
    const ports = [{ protocol: 'tcp' as const, containerPort: SERVED }];
    const endpoint = await before.attach('n', { id: 'web', sandbox, ports });
    // what a reboot leaves: the records, and files where the sandboxes were bound
    await before.destroy();
    const driver = createBridgeDriver({ name });
    lab.defer(() => driver.destroy());
    const gone = `${sandbox}-gone`;
    await writeFile(gone, '');
    await driver.reconcile({
      networks: [{ ...network, subnets: made.subnets }],
      endpoints: [{ networkId: 'n', endpoint, sandbox: gone }],
    });
    expect(await driver.networks()).toEqual([made]);
    expect(await driver.endpoints('n')).toEqual([]);
    expect(await linkIsUp(network.bridgeName)).toBe(true);
    // its address and its ports are free for whoever starts next
    const { hostPort } = endpoint.ports[0]!;
    const again = await driver.attach('n', {
      id: 'web',
      sandbox: await lab.sandbox(),
      ipv4Address: addressOf(endpoint),
      ports: [{ ...ports[0]!, hostPort }],
    });
    expect(again.ports).toEqual(endpoint.ports);
  });

  it('raises and removes fifty endpoints and leaves nothing', async () => {
    await using lab = await Lab.open();
    const name = uniqueName();
    const driver = createBridgeDriver({ name });
    lab.defer(() => driver.destroy());
    await driver.createNetwork({ id: 'n', bridgeName: uniqueName(), subnets: [{ subnet: uniqueSubnet() }] });
    const sandboxes = await Promise.all(Array.from({ length: 50 }, () => lab.sandbox()));
    const attached = await Promise.all(
      sandboxes.map((sandbox, i) =>
        driver.attach('n', { id: `e${i}`, sandbox, ports: [{ protocol: 'tcp', containerPort: SERVED }] }),
      ),
    );
    expect(new Set(attached.map(({ ipv4Address }) => ipv4Address)).size).toBe(50);
    expect((await linksOf(name)).length).toBe(51);
    await Promise.all(attached.map(({ id }) => driver.detach('n', id)));
    await driver.removeNetwork('n');
    expect(await linksOf(name)).toEqual([]);
    await driver.destroy();
    expect(await tableExists(name)).toBe(false);
  });

  it('cuts an endpoint off before its link is deleted', async () => {
    await using lab = await Lab.open();
    const kernel = nativeKernel();
    const gate = Promise.withResolvers<void>();
    const RTM_DELLINK = 17;
    const slow: typeof kernel = {
      ...kernel,
      openNetlink(options) {
        const transport = kernel.openNetlink(options);
        return {
          async request(bytes) {
            if (bytes[4] === RTM_DELLINK && bytes[5] === 0) await gate.promise;
            return await transport.request(bytes);
          },
          close: () => transport.close(),
        };
      },
    };
    const name = uniqueName();
    const driver = createBridgeDriver({ name, kernel: slow });
    lab.defer(() => driver.destroy());
    lab.defer(async () => gate.resolve());
    await driver.createNetwork({ id: 'n', bridgeName: uniqueName(), subnets: [{ subnet: uniqueSubnet() }] });
    const [first, second] = [await lab.sandbox(), await lab.sandbox()];
    const endpoint = await driver.attach('n', { id: 'one', sandbox: first });
    await driver.attach('n', { id: 'two', sandbox: second });
    const sibling = await lab.agent(second);
    await (await lab.agent(first)).serve('one', SERVED);
    const address = addressOf(endpoint);
    expect(await sibling.tcp(address, SERVED)).toMatch(/^one /);
    await driver.detach('n', 'one');
    expect((await linksOf(name)).length).toBe(3);
    await sibling.noTcp(address, SERVED);
    await host.noTcp(address, SERVED);
    gate.resolve();
    await driver.detach('n', 'two');
    await driver.removeNetwork('n');
    expect(await linksOf(name)).toEqual([]);
  });

  it('rolls an attach back whichever request of it fails', { timeout: 300_000 }, async () => {
    await using lab = await Lab.open();
    const kernel = nativeKernel();
    let failAt = Number.POSITIVE_INFINITY;
    let requests = 0;
    const failing: typeof kernel = {
      ...kernel,
      openNetlink(options) {
        const transport = kernel.openNetlink(options);
        return {
          async request(bytes) {
            if (++requests === failAt) throw new Error(`request ${failAt} fails`);
            return await transport.request(bytes);
          },
          close: () => transport.close(),
        };
      },
    };
    const name = uniqueName();
    const driver = createBridgeDriver({ name, kernel: failing });
    lab.defer(() => driver.destroy());
    await driver.createNetwork({ id: 'n', bridgeName: uniqueName(), subnets: [{ subnet: uniqueSubnet() }] });
    const sandbox = await lab.sandbox();
    const endpoint = {
      id: 'e',
      sandbox,
      ports: [{ protocol: 'udp' as const, containerPort: 53, hostIp: '0.0.0.0' }],
    };
    let failures = 0;
    for (let nth = 1; ; nth++) {
      requests = 0;
      failAt = nth;
      const error = await driver.attach('n', endpoint).catch((error: unknown) => error as Error);
      failAt = Number.POSITIVE_INFINITY;
      if (!(error instanceof Error)) break;
      expect(error.message).toContain(`request ${nth} fails`);
      expect(await driver.endpoints('n')).toEqual([]);
      // what was cut off is deleted by the time that its name is needed again
      const check = await driver.attach('n', endpoint);
      await driver.detach('n', 'e');
      expect(check.ports.length).toBe(1);
      failures++;
    }
    expect(failures).toBeGreaterThan(5);
    await driver.detach('n', 'e');
    await driver.removeNetwork('n');
    expect(await linksOf(name)).toEqual([]);
  });

  async function publish(lab: Lab, options?: { owned: boolean }) {
    const name = uniqueName();
    const firewall = createNftablesFirewall({ kernel: nativeKernel(), tableName: name, ...options });
    const driver = createBridgeDriver({ name, firewall });
    lab.defer(() => driver.destroy());
    const network = { id: 'n', bridgeName: uniqueName(), subnets: [{ subnet: uniqueSubnet() }] };
    await driver.createNetwork(network);
    const sandbox = await lab.sandbox();
    const ports = [{ protocol: 'tcp' as const, containerPort: SERVED, hostIp: '0.0.0.0' }];
    const endpoint = await driver.attach('n', { id: 'web', sandbox, ports });
    await (await lab.agent(sandbox)).serve('web', SERVED);
    return { driver, name, network, sandbox, endpoint };
  }
});

function doomedProcess(orders: Orders) {
  const script = join(import.meta.dirname, 'lab', 'doomed.ts');
  const args = ['--conditions=@tare/source', script, JSON.stringify(orders)];
  return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function startDoomed(orders: Orders) {
  const child = doomedProcess(orders);
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const { value } = (await lines.next()) as { value: string };
  return {
    made: JSON.parse(value) as { network: Network; endpoints: Endpoint[] },
    async kill() {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

/** Whether the process came to its end. */
async function runDoomed(orders: Orders): Promise<boolean> {
  const child = doomedProcess(orders);
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  if (signal === 'SIGKILL') return false;
  expect(code).toBe(0);
  return true;
}

async function links(): Promise<Link[]> {
  using connection = new NetlinkConnection(openNetlink({ protocol: 'route' }));
  return (await connection.ask(dumpLinks())).flatMap((message) => decodeLink(message) ?? []);
}

/** Links that the driver of a name made, those among them that wait to be deleted. Others may be at work meanwhile. */
async function linksOf(driverName: string): Promise<string[]> {
  const marks = new BridgeLinks(nativeKernel(), driverName);
  return (await links())
    .filter((link) => marks.isOurs(link) || marks.isOurs({ ...link, group: link.group - 1 }))
    .map(({ name }) => name);
}

async function linkIsUp(name: string): Promise<boolean> {
  return (await links()).some((link) => link.name === name && (link.flags & 1) === 1);
}

async function tableExists(name: string): Promise<boolean> {
  using connection = new NetlinkConnection(openNetlink({ protocol: 'netfilter' }));
  try {
    const [message] = await connection.ask(getTable({ family: NFPROTO.INET, name }));
    return message?.type === NFT_MSG.NEWTABLE;
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return false;
    throw error;
  }
}
