/** Debian's CNI plugins behind the interface: real traffic between namespaces, and nothing left behind. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Endpoint } from '@tare/netdriver';
import { expect, it } from 'vitest';

import { COMPONENTS, componentPath } from '../../../test/lab/debian.ts';
import {
  addressOf,
  describeInNamespace,
  Lab,
  uniqueName,
  uniqueSubnet,
  uniqueSubnet6,
} from '../../../packages/netdriver/test/lab/namespaces.ts';
import { createCniDriver } from '../src/index.ts';

const bridgePlugin = componentPath(COMPONENTS.cniPlugins);
const iptables = ['iptables', 'nft'].every((program) => spawnSync(program, ['--version']).status === 0);
if (bridgePlugin === undefined) console.warn('skipped: CNI plugins (Debian: containernetworking-plugins)');
else if (!iptables)
  console.warn(
    'skipped: published ports by the CNI plugin portmap (it runs iptables; needs the Debian packages iptables and nftables)',
  );

async function setUp(lab: Lab) {
  const stateDirectory = await mkdtemp(join(tmpdir(), 'tare-cni-'));
  lab.defer(() => rm(stateDirectory, { recursive: true }));
  const directories = [dirname(bridgePlugin!)];
  const create = () => createCniDriver({ directories, stateDirectory });
  const driver = create();
  const bridge = uniqueName();
  lab.defer(async () => spawnSync('ip', ['link', 'delete', bridge]));
  lab.defer(() => create().destroy());
  const id = uniqueName();
  const subnets = [{ subnet: uniqueSubnet() }, { subnet: uniqueSubnet6() }];
  lab.defer(() => rm(join('/var/lib/cni/networks', id), { recursive: true, force: true }));
  const config = { id, subnets, plugins: [{ type: 'bridge', bridge, isGateway: true }] };
  return { driver, create, config, id, bridge, stateDirectory };
}

if (bridgePlugin !== undefined) {
  describeInNamespace('CNI plugins as a network driver', () => {
    it('attach and detach sandboxes, which reach each other in both families', async () => {
      await using lab = await Lab.open();
      const { driver, config, id, bridge, stateDirectory } = await setUp(lab);
      expect(await driver.createNetwork(config)).toMatchObject({ id, linkName: bridge });
      const [first, second] = [await lab.sandbox(), await lab.sandbox()];
      const one = await driver.attach(id, { id: 'one', sandbox: first });
      const two = await driver.attach(id, { id: 'two', sandbox: second });
      expect(one.ipv4Address).toBe(config.subnets[0]!.subnet.replace('0/24', '2/24'));
      expect(one.gateway).toBe(config.subnets[0]!.subnet.replace('0/24', '1'));
      expect(one.macAddress).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
      await (await lab.agent(first)).serve('one', 80);
      const client = await lab.agent(second);
      for (const family of [4, 6] as const) {
        expect(await client.tcp(addressOf(one, family), 80)).toBe(`one ${addressOf(two, family)}`);
      }
      await expect(driver.removeNetwork(id)).rejects.toMatchObject({ code: 'IN_USE' });
      await driver.detach(id, 'one');
      await client.noTcp(addressOf(one), 80);
      await driver.detach(id, 'two');
      await driver.detach(id, 'two');
      await driver.removeNetwork(id);
      expect(await readdir(stateDirectory)).toEqual([]);
    });

    it('take up after a crash what stands, attach anew what does not, and remove the rest', async () => {
      await using lab = await Lab.open();
      const { driver, create, config, id } = await setUp(lab);
      await driver.createNetwork(config);
      const sandboxes = [await lab.sandbox(), await lab.sandbox(), await lab.sandbox()] as const;
      const endpoints: Endpoint[] = [];
      for (const [i, sandbox] of sandboxes.entries())
        endpoints.push(await driver.attach(id, { id: `e${i}`, sandbox }));
      spawnSync('nsenter', [`--net=${sandboxes[1]}`, 'ip', 'link', 'delete', 'eth0']);
      const next = create();
      const kept = [0, 1].map((i) => ({ networkId: id, endpoint: endpoints[i]!, sandbox: sandboxes[i]! }));
      await next.reconcile({ networks: [config], endpoints: kept });
      const now = await next.endpoints(id);
      expect(now.map(({ id }) => id)).toEqual(['e0', 'e1']);
      expect(now[0]).toEqual(endpoints[0]);
      await (await lab.agent(sandboxes[0])).serve('e0', 80);
      expect(await (await lab.agent(sandboxes[1])).tcp(addressOf(now[0]!), 80)).toMatch(/^e0 /);
      await next.destroy();
    });

    it.skipIf(!iptables)('publish ports by portmap', async () => {
      await using lab = await Lab.open();
      const { driver, config, id } = await setUp(lab);
      const lan = await lab.lan({ routed: false });
      // what iptables made for portmap, it keeps
      for (const family of ['ip', 'ip6']) {
        lab.defer(async () => spawnSync('nft', ['delete', 'table', family, 'nat']));
      }
      const portmap = { type: 'portmap', capabilities: { portMappings: true } };
      await driver.createNetwork({
        ...config,
        subnets: [config.subnets[0]!],
        plugins: [...config.plugins, portmap],
      });
      const sandbox = await lab.sandbox();
      const ports = [{ protocol: 'tcp' as const, containerPort: 80, hostPort: 18_080 }];
      await driver.attach(id, { id: 'web', sandbox, ports });
      await (await lab.agent(sandbox)).serve('web', 80);
      const neighbour = await lab.agent(lan.path);
      expect(await neighbour.tcp(lan.hostAddress, 18_080)).toMatch(/^web /);
      await driver.detach(id, 'web');
      await neighbour.noTcp(lan.hostAddress, 18_080);
    });

    it('leave nothing of an attachment that a plugin refuses, and say why', async () => {
      await using lab = await Lab.open();
      const { driver, config, id, stateDirectory } = await setUp(lab);
      await driver.createNetwork({
        ...config,
        plugins: [...config.plugins, { type: 'tuning', sysctl: { 'kernel.nonsense': '1' } }],
      });
      const sandbox = await lab.sandbox();
      await expect(driver.attach(id, { id: 'e', sandbox })).rejects.toThrow(/CNI plugin tuning ADD: .+/);
      expect(await readdir(stateDirectory)).toEqual([]);
      expect(spawnSync('nsenter', [`--net=${sandbox}`, 'ip', 'link', 'show', 'eth0']).status).not.toBe(0);
    });

    it('are found by their names alone (CVE-2021-20206)', async () => {
      await using lab = await Lab.open();
      const { driver, config } = await setUp(lab);
      for (const type of ['../../../bin/sh', '/bin/sh', '..', '']) {
        await expect(driver.createNetwork({ ...config, plugins: [{ type }] })).rejects.toMatchObject({
          code: 'INVALID_CONFIG',
        });
      }
      await expect(driver.createNetwork({ ...config, plugins: [{ type: 'nosuch' }] })).rejects.toMatchObject({
        code: 'NOT_FOUND',
      });
      await expect(driver.createNetwork({ ...config, id: '../x' })).rejects.toMatchObject({
        code: 'INVALID_CONFIG',
      });
    });
  });
}
