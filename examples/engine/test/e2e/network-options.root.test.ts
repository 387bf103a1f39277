/** What `docker network create` can be told, with the stock CLI: each option by what it does to packets and interfaces. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../../../test/lab/registry.ts';
import { eventually } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, servePage, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`network options${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  const serve = (name: string, ...flags: string[]) => servePage(lab, name, flags);
  const page = (url: string) =>
    eventually(`answer of ${url}`, async () => {
      try {
        return await (await fetch(url)).text();
      } catch {
        // the server in the container is still starting
        return undefined;
      }
    });
  /** Docker's 20.10 has no brackets around IPv6 addresses yet. */
  const portsOf = async (container: string) =>
    (await lab.ok(['port', container])).replaceAll('-> :::', '-> [::]:');
  const sh = (container: string, script: string) => lab.ok(['exec', container, 'sh', '-c', script]);
  const remove = async (network: string, ...containers: string[]) => {
    if (containers.length > 0) await lab.ok(['rm', '-f', ...containers]);
    await lab.ok(['network', 'rm', network]);
  };

  test('both families: addresses, names, published ports on every address and on ::1', async () => {
    const subnets = ['--subnet', 'fd00:aaaa::/64', '--subnet', '10.91.0.0/24'];
    await lab.ok(['network', 'create', '--ipv6', ...subnets, 'dual']);
    const port = await freePort();
    await serve(
      'web',
      '--network',
      'dual',
      '-p',
      `${port}:80`,
      '--ip6',
      'fd00:aaaa::80',
      '--ip',
      '10.91.0.80',
    );
    const seen = await lab.ok([
      'inspect',
      '-f',
      '{{with .NetworkSettings.Networks.dual}}{{.IPAddress}} {{.Gateway}} {{.GlobalIPv6Address}}/{{.GlobalIPv6PrefixLen}} {{.IPv6Gateway}}{{end}}',
      'web',
    ]);
    expect(seen).toBe('10.91.0.80 10.91.0.1 fd00:aaaa::80/64 fd00:aaaa::1');
    for (const host of ['127.0.0.1', '[::1]', '10.91.0.1', '[fd00:aaaa::1]']) {
      expect(await page(`http://${host}:${port}/`), host).toBe('web\n');
    }
    expect(await portsOf('web')).toBe(`80/tcp -> 0.0.0.0:${port}\n80/tcp -> [::]:${port}`);
    await serve('client', '--network', 'dual');
    expect(await sh('client', 'wget -qO- http://[fd00:aaaa::80]/')).toBe('web');
    expect(await sh('client', 'nslookup -type=aaaa web 127.0.0.11')).toContain('fd00:aaaa::80');
    const network = JSON.parse(await lab.ok(['network', 'inspect', 'dual'])) as {
      EnableIPv6: boolean;
      IPAM: { Config: unknown };
      Containers: Record<string, { IPv4Address: string; IPv6Address: string }>;
    }[];
    expect(network[0]!.EnableIPv6).toBe(true);
    expect(network[0]!.IPAM.Config).toEqual([
      { Subnet: 'fd00:aaaa::/64', Gateway: 'fd00:aaaa::1' },
      { Subnet: '10.91.0.0/24', Gateway: '10.91.0.1' },
    ]);
    expect(Object.values(network[0]!.Containers)).toContainEqual(
      expect.objectContaining({ IPv4Address: '10.91.0.80/24', IPv6Address: 'fd00:aaaa::80/64' }),
    );
    await remove('dual', 'web', 'client');
  });

  test('IPv6 without a subnet gets a unique local one', async () => {
    await lab.ok(['network', 'create', '--ipv6', 'local']);
    const subnets = await lab.ok([
      'network',
      'inspect',
      '-f',
      '{{range .IPAM.Config}}{{.Subnet}} {{end}}',
      'local',
    ]);
    expect(subnets).toMatch(/^\d+\.\d+\.\d+\.0\/\d+ fd[0-9a-f]{2}:[0-9a-f:]+::\/64$/);
    await remove('local');
  });

  test('an IPv4 port is reached by an IPv6 address of the host, too', async () => {
    const port = await freePort();
    await serve('four', '-p', `${port}:80`);
    expect(await page(`http://[::1]:${port}/`)).toBe('four\n');
    expect(await portsOf('four')).toBe(`80/tcp -> 0.0.0.0:${port}\n80/tcp -> [::]:${port}`);
    await lab.ok(['rm', '-f', 'four']);
  });

  test('bridge name, MTU, gateway, range and auxiliary addresses are as asked for', async () => {
    await lab.ok([
      'network',
      'create',
      '--subnet',
      '10.92.0.0/24',
      '--gateway',
      '10.92.0.254',
      '--ip-range',
      '10.92.0.8/30',
      '--aux-address',
      'printer=10.92.0.8',
      '-o',
      'com.docker.network.bridge.name=custom0',
      '-o',
      'com.docker.network.driver.mtu=1400',
      '-o',
      'com.docker.network.container_iface_prefix=lan',
      'custom',
    ]);
    await lab.ok(['run', '-d', '--name', 'sized', '--network', 'custom', lab.busybox, 'sleep', '600']);
    expect(await sh('sized', 'ip -o -4 addr show lan0')).toContain('10.92.0.9/24');
    expect(await sh('sized', 'cat /sys/class/net/lan0/mtu; ip route')).toMatch(
      /^1400\ndefault via 10\.92\.0\.254 dev lan0/,
    );
    const hostSide = ['run', '--rm', '--network', 'host', lab.busybox, 'cat', '/sys/class/net/custom0/mtu'];
    expect(await lab.ok(hostSide)).toBe('1400');
    await remove('custom', 'sized');
  });

  test('without inter-container traffic containers meet at published ports alone', async () => {
    await lab.ok(['network', 'create', '-o', 'com.docker.network.bridge.enable_icc=false', 'quiet']);
    const port = await freePort();
    await serve('shop', '--network', 'quiet', '-p', `${port}:80`);
    await lab.ok(['run', '-d', '--name', 'visitor', '--network', 'quiet', lab.busybox, 'sleep', '600']);
    const address = await lab.ok(['inspect', '-f', '{{.NetworkSettings.Networks.quiet.IPAddress}}', 'shop']);
    const gateway = await lab.ok(['inspect', '-f', '{{.NetworkSettings.Networks.quiet.Gateway}}', 'shop']);
    expect(await sh('visitor', `timeout 2 wget -qO- http://${address}/ || echo nothing`)).toBe('nothing');
    expect(await sh('visitor', `timeout 5 wget -qO- http://${gateway}:${port}/`)).toBe('shop');
    await remove('quiet', 'shop', 'visitor');
  });

  test('ports are published on the address that the network binds to', async () => {
    const option = 'com.docker.network.bridge.host_binding_ipv4=127.0.0.1';
    await lab.ok(['network', 'create', '-o', option, 'bound']);
    const port = await freePort();
    await serve('home', '--network', 'bound', '-p', `${port}:80`);
    expect(await page(`http://127.0.0.1:${port}/`)).toBe('home\n');
    expect(await lab.ok(['port', 'home'])).toBe(`80/tcp -> 127.0.0.1:${port}`);
    await remove('bound', 'home');
  });

  test('SCTP is published', async () => {
    await lab.ok(['run', '-d', '--name', 'signals', '-p', '9091:9090/sctp', lab.busybox, 'sleep', '600']);
    expect(await lab.ok(['port', 'signals'])).toBe('9090/sctp -> 0.0.0.0:9091');
    await lab.ok(['rm', '-f', 'signals']);
  });

  test('macvlan: containers meet on a wire of their own, by name', async () => {
    await lab.ok(['network', 'create', '-d', 'macvlan', '--subnet', '10.93.0.0/24', 'wire']);
    await serve('left', '--network', 'wire', '--mac-address', '02:42:0a:5d:00:09');
    await lab.ok(['run', '-d', '--name', 'right', '--network', 'wire', lab.busybox, 'sleep', '600']);
    expect(await sh('right', 'timeout 5 wget -qO- http://left/')).toBe('left');
    expect(await sh('left', 'cat /sys/class/net/eth0/address')).toBe('02:42:0a:5d:00:09');
    expect(await lab.ok(['network', 'inspect', '-f', '{{.Driver}} {{.Internal}}', 'wire'])).toBe(
      'macvlan true',
    );
    await remove('wire', 'left', 'right');
    const refused = await lab.docker(['network', 'create', '-d', 'macvlan', '-o', 'parent=nosuch7', 'never']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('nosuch7');
  });

  test('the default route and the ports follow the priority of networks that come and go', async () => {
    await lab.ok(['network', 'create', '--subnet', '10.94.0.0/24', 'first']);
    await lab.ok(['network', 'create', '--subnet', '10.95.0.0/24', 'second']);
    const port = await freePort();
    await serve('roaming', '--network', 'first', '-p', `${port}:80`);
    expect(await sh('roaming', 'ip route')).toContain('default via 10.94.0.1 dev eth0');
    const connected = await lab.tare(['network', 'connect', '--gw-priority', '5', 'second', 'roaming']);
    expect(connected.stderr).toBe('');
    expect(await sh('roaming', 'ip route')).toContain('default via 10.95.0.1 dev eth1');
    expect(await page(`http://127.0.0.1:${port}/`)).toBe('roaming\n');
    await lab.ok(['network', 'disconnect', 'second', 'roaming']);
    expect(await sh('roaming', 'ip route')).toContain('default via 10.94.0.1 dev eth0');
    expect(await page(`http://127.0.0.1:${port}/`)).toBe('roaming\n');
    await lab.ok(['rm', '-f', 'roaming']);
    await lab.ok(['network', 'rm', 'first', 'second']);
  });

  test('options of an endpoint: its interface name and its settings', async () => {
    const create = await lab.api(
      'POST',
      '/v1.48/containers/create?name=tuned',
      JSON.stringify({
        Image: lab.busybox,
        Cmd: ['sleep', '600'],
        NetworkingConfig: {
          EndpointsConfig: {
            bridge: {
              DriverOpts: {
                'com.docker.network.endpoint.ifname': 'wan0',
                'com.docker.network.endpoint.sysctls': 'net.ipv4.conf.IFNAME.log_martians=1',
              },
            },
          },
        },
      }),
    );
    expect(create.status).toBe(201);
    await lab.ok(['start', 'tuned']);
    expect(await sh('tuned', 'cat /proc/sys/net/ipv4/conf/wan0/log_martians')).toBe('1');
    await lab.ok(['rm', '-f', 'tuned']);
  });

  test('a configuration is for networks to be made with, and for nothing else', async () => {
    const mtu = 'com.docker.network.driver.mtu';
    const config = ['--config-only', '--subnet', '10.99.0.0/24', '--label', 'a=b', '-o', `${mtu}=1400`];
    await lab.ok(['network', 'create', ...config, 'plan']);
    await lab.ok(['network', 'create', '--config-from', 'plan', 'made']);
    const format =
      '{{.Driver}} {{.ConfigOnly}} {{.ConfigFrom.Network}} {{json .Labels}} {{(index .IPAM.Config 0).Subnet}}';
    const inspect = (name: string) => lab.ok(['network', 'inspect', '-f', format, name]);
    expect(await inspect('plan')).toBe('null true  {"a":"b"} 10.99.0.0/24');
    expect(await inspect('made')).toBe('bridge false plan {"a":"b"} 10.99.0.0/24');
    const link = await lab.ok([
      'run',
      '--rm',
      '--network',
      'made',
      lab.busybox,
      'ip',
      'addr',
      'show',
      'eth0',
    ]);
    expect(link).toMatch(/mtu 1400[^]*inet 10\.99\.0\.2\/24/);

    for (const [command, message] of [
      [
        'network create --config-only --internal x',
        'configuration network can only contain network specific',
      ],
      ['network create --config-from plan --config-only x', 'cannot depend on another configuration network'],
      ['network create --config-from plan --label q=r x', 'user specified configurations are not supported'],
      ['network create --config-from nosuch x', 'configuration network "nosuch" does not exist'],
      ['network rm plan', 'configuration network "plan" is in use'],
      [`run --rm --network plan ${lab.busybox} true`, 'cannot create endpoint on configuration-only network'],
    ] as const) {
      const { code, stderr } = await lab.docker(command.split(' '));
      expect([code !== 0, stderr]).toEqual([true, expect.stringContaining(message)]);
    }
    await lab.restartDaemon('SIGKILL');
    expect(await inspect('plan')).toContain('null true');
    await lab.ok(['network', 'prune', '-f']);
    expect(await lab.ok(['network', 'ls', '--format', '{{.Name}}'])).toMatch(/plan/);
    expect(await lab.ok(['network', 'ls', '--format', '{{.Name}}'])).not.toMatch(/made/);
    await remove('plan');
  });

  test('networks of both families are as before after the daemon was killed', async () => {
    await lab.ok(['network', 'create', '--ipv6', '--subnet', 'fd00:bbbb::/64', 'lasting']);
    const port = await freePort();
    await serve('survivor', '--network', 'lasting', '-p', `${port}:80`);
    expect(await page(`http://[::1]:${port}/`)).toBe('survivor\n');
    await lab.restartDaemon('SIGKILL');
    expect(await page(`http://[::1]:${port}/`)).toBe('survivor\n');
    expect(await page(`http://127.0.0.1:${port}/`)).toBe('survivor\n');
    const address = await lab.ok([
      'inspect',
      '-f',
      '{{.NetworkSettings.Networks.lasting.GlobalIPv6Address}}',
      'survivor',
    ]);
    expect(address).toBe('fd00:bbbb::2');
    await remove('lasting', 'survivor');
  });
});
