/** Macvlan and ipvlan networks: who is on the wire, and who is not. Real traffic between real namespaces. */

import { expect, it } from 'vitest';

import { createIpvlanDriver, createMacvlanDriver } from '../src/index.ts';
import {
  addressOf,
  describeInNamespace,
  host,
  kernelHasIpvlan,
  Lab,
  uniqueName,
  type Agent,
  type Neighbour,
} from './lab/namespaces.ts';

const SERVED = 80;

type VlanDriver = ReturnType<typeof createMacvlanDriver> | ReturnType<typeof createIpvlanDriver>;

/** Two endpoints on the cable to a neighbour, in the subnets of the cable. */
async function onTheWire(
  lab: Lab,
  driver: VlanDriver,
  more: object,
): Promise<{ lan: Neighbour; agents: [Agent, Agent]; addresses: (family: 4 | 6) => [string, string] }> {
  const lan = await lab.lan({ routed: false });
  lab.defer(() => driver.destroy());
  const subnets = [
    // the neighbour and the host are on it already, and are its gateway
    { subnet: `${lan.hostAddress}/24`, gateway: lan.address, reserved: [lan.hostAddress] },
    { subnet: `${lan.hostAddress6}/64`, gateway: lan.address6, reserved: [lan.hostAddress6] },
  ];
  await driver.createNetwork({ id: 'wire', parent: lan.name, ipv6: true, subnets, ...more });
  const sandboxes = [await lab.sandbox(), await lab.sandbox()] as const;
  const one = await driver.attach('wire', { id: 'one', sandbox: sandboxes[0] });
  const two = await driver.attach('wire', { id: 'two', sandbox: sandboxes[1] });
  const agents: [Agent, Agent] = [await lab.agent(sandboxes[0]), await lab.agent(sandboxes[1])];
  await agents[0].serve('one', SERVED);
  await agents[1].serve('two', SERVED);
  return { lan, agents, addresses: (family) => [addressOf(one, family), addressOf(two, family)] };
}

describeInNamespace('macvlan networks', () => {
  it('put endpoints on the wire of their parent, in both families, each with its own address', async () => {
    await using lab = await Lab.open();
    const driver = createMacvlanDriver({ name: uniqueName() });
    const { lan, agents, addresses } = await onTheWire(lab, driver, {});
    const neighbour = await lab.agent(lan.path);
    await neighbour.serve('lan', SERVED);
    for (const family of [4, 6] as const) {
      const [one, two] = addresses(family);
      const outside = family === 4 ? lan.address : lan.address6;
      expect(await agents[0].tcp(two, SERVED)).toBe(`two ${one}`);
      expect(await agents[0].udp(two, SERVED)).toBe(`two ${one}`);
      expect(await agents[0].tcp(outside, SERVED)).toBe(`lan ${one}`);
      expect(await neighbour.tcp(two, SERVED)).toBe(`two ${outside}`);
      // the parent does not hear its own children
      await host.noTcp(one, SERVED);
    }
  });

  it('keep endpoints of a private network from each other', async () => {
    await using lab = await Lab.open();
    const driver = createMacvlanDriver({ name: uniqueName() });
    const { lan, agents, addresses } = await onTheWire(lab, driver, { mode: 'private' });
    const neighbour = await lab.agent(lan.path);
    const [one, two] = addresses(4);
    await agents[0].noTcp(two, SERVED);
    expect(await neighbour.tcp(one, SERVED)).toBe(`one ${lan.address}`);
  });

  it('without a parent lead nowhere, and one parent carries one network', async () => {
    await using lab = await Lab.open();
    const driver = createMacvlanDriver({ name: uniqueName() });
    lab.defer(() => driver.destroy());
    const made = await driver.createNetwork({ id: 'island' });
    expect(made.internal).toBe(true);
    const sandboxes = [await lab.sandbox(), await lab.sandbox()] as const;
    const one = await driver.attach('island', { id: 'one', sandbox: sandboxes[0] });
    expect(one.gateway).toBeUndefined();
    await driver.attach('island', { id: 'two', sandbox: sandboxes[1] });
    await (await lab.agent(sandboxes[0])).serve('one', SERVED);
    expect(await (await lab.agent(sandboxes[1])).tcp(addressOf(one), SERVED)).toMatch(/^one /);
    const lan = await lab.lan({ routed: false });
    await driver.createNetwork({ id: 'first', parent: lan.name });
    await expect(driver.createNetwork({ id: 'second', parent: lan.name })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
    await expect(driver.createNetwork({ id: 'third', parent: 'nosuch0' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect(
      driver.attach('first', {
        id: 'loud',
        sandbox: sandboxes[0],
        ports: [{ protocol: 'tcp', containerPort: 80 }],
      }),
    ).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });
});

if (kernelHasIpvlan()) {
  describeInNamespace('ipvlan networks', () => {
    it.each(['l2', 'l3', 'l3s'] as const)('put endpoints on the wire of their parent (%s)', async (mode) => {
      await using lab = await Lab.open();
      const driver = createIpvlanDriver({ name: uniqueName() });
      const { lan, agents, addresses } = await onTheWire(lab, driver, { mode });
      const neighbour = await lab.agent(lan.path);
      await neighbour.serve('lan', SERVED);
      const [one, two] = addresses(4);
      expect(await agents[0].tcp(two, SERVED)).toBe(`two ${one}`);
      if (mode !== 'l2') return;
      // with l3 the outside must have a route: there is nobody who answers for the addresses
      expect(await agents[0].tcp(lan.address, SERVED)).toBe(`lan ${one}`);
      expect(await neighbour.tcp(two, SERVED)).toBe(`two ${lan.address}`);
    });
  });
}
