/** The nf_tables firewall as nft(8), an independent witness, reads it back from the kernel. */

import { execFileSync, spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';

import {
  createNftablesFirewall,
  nativeKernel,
  type FirewallEndpoint,
  type FirewallNetwork,
} from '../src/index.ts';
import { describeInNamespace, uniqueName } from './lab/namespaces.ts';

const NFT = ['nft', '/usr/sbin/nft'].find((path) => spawnSync(path, ['--version']).status === 0);
if (NFT === undefined)
  console.warn('skipped: the ruleset as nft(8) shows it (needs the Debian package nftables)');

/** The lines of a table, without indentation and what the kernel counts. */
function listed(name: string): string[] {
  return execFileSync(NFT!, ['list', 'table', 'inet', name], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim());
}

describeInNamespace('the nf_tables firewall', () => {
  const family = (gateway: string) => ({
    mode: 'nat' as const,
    masquerade: true,
    sourceAddress: undefined,
    gateways: [gateway],
  });
  const network: FirewallNetwork = {
    bridgeName: 'br0',
    internal: false,
    icc: true,
    trustedInterfaces: [],
    ipv4: family('172.17.0.1'),
    ipv6: family('fd00::1'),
  };
  const inside = (n: number) => ({
    hostInterfaceName: `veth${n}`,
    macAddress: `02:00:00:00:${(n >> 8).toString(16).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}`,
    ipv6Address: `fd00::${(n + 2).toString(16)}`,
  });
  const endpoint: FirewallEndpoint = {
    id: 'e1',
    bridgeName: 'br0',
    ipv4Address: '172.17.0.2',
    ...inside(0),
    ports: [
      { protocol: 'tcp', containerPort: 80, hostIp: '0.0.0.0', hostPort: 8080 },
      { protocol: 'tcp', containerPort: 80, hostIp: '127.0.0.1', hostPort: 8081 },
      { protocol: 'udp', containerPort: 53, hostIp: '0.0.0.0', hostPort: 5353 },
      { protocol: 'tcp', containerPort: 80, hostIp: '::', hostPort: 8080 },
      { protocol: 'sctp', containerPort: 90, hostIp: '::1', hostPort: 9090 },
    ],
  };

  it.skipIf(NFT === undefined)('says what it means to nft', async () => {
    const name = uniqueName();
    const firewall = createNftablesFirewall({ kernel: nativeKernel(), tableName: name });
    try {
      await firewall.addNetwork(network);
      await firewall.addNetwork({
        ...network,
        bridgeName: 'br1',
        internal: true,
        icc: false,
        trustedInterfaces: ['eth7'],
        ipv4: { ...family('172.18.0.1'), mode: 'routed', masquerade: false },
        ipv6: undefined,
      });
      await firewall.addEndpoint(endpoint);
      const lines = listed(name);
      const rules = lines.map((line) => line.replace(/ comment ".*"$/, ''));
      for (const rule of [
        'type filter hook prerouting priority raw; policy accept;',
        'ip daddr 127.0.0.0/8 iifname != "lo" drop',
        'ip6 daddr ::1 iifname != "lo" drop',
        'dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6',
        'ct status dnat ip6 daddr . meta l4proto . th dport @open6 accept',
        'ct status dnat ip6 saddr . oifname @endpoints6 masquerade',
        'meta mark 0x74617265 accept',
        'meta nfproto . oifname @unprotected accept',
        'iifname . oifname @trusted accept',
        'meta nfproto ipv4 snat ip to iifname map @source4',
        'fib daddr type local jump dnat',
        'dnat ip to ip daddr . meta l4proto . th dport map @published4',
        'ct state established,related accept',
        'iifname . oifname vmap @pairs',
        'iifname @internal drop',
        'oifname @internal drop',
        'oifname @bridges goto into',
        'iifname @bridges accept',
        'ct status dnat ip daddr . meta l4proto . th dport @open4 accept',
        'drop',
        'ct status dnat ip saddr . oifname @endpoints4 masquerade',
        'ip saddr 127.0.0.0/8 oifname @bridges masquerade',
        'meta nfproto . iifname @masquerade masquerade',
      ]) {
        expect(rules).toContain(rule);
      }
      const text = lines.join(' ');
      expect(text).toContain('tcp . 8080 comment "e1" : 172.17.0.2 . 80');
      expect(text).toContain('udp . 5353 comment "e1" : 172.17.0.2 . 53');
      expect(text).toContain('127.0.0.1 . tcp . 8081 comment "e1" : 172.17.0.2 . 80');
      expect(text).toContain('tcp . 8080 comment "e1" : fd00::2 . 80');
      expect(text).toContain('::1 . sctp . 9090 comment "e1" : fd00::2 . 90');
      expect(text).toContain('"eth7" . "br1"');
      expect(text).toContain('ipv4 . "br1"');
      expect(text).toMatch(/"br1" . "br1" : goto into/);
      expect(text).toMatch(/"br0" . "br0" : accept/);

      await firewall.removeEndpoint('e1', 'br0');
      await firewall.removeEndpoint('e1', 'br0');
      await firewall.removeNetwork('br0');
      await firewall.removeNetwork('br1');
      expect(listed(name).join(' ')).not.toMatch(/elements/);
    } finally {
      await firewall.destroy();
      firewall.close();
    }
    expect(spawnSync(NFT!, ['list', 'table', 'inet', name]).status).not.toBe(0);
  });

  it('takes two thousand endpoints in one transaction', async () => {
    const name = uniqueName();
    const firewall = createNftablesFirewall({ kernel: nativeKernel(), tableName: name });
    try {
      const endpoints = Array.from({ length: 2000 }, (_, i) => ({
        id: `e${i}`,
        bridgeName: 'br0',
        ipv4Address: `10.1.${i >> 8}.${i & 255}`,
        ...inside(i),
        ports: [{ protocol: 'tcp' as const, containerPort: 80, hostIp: '0.0.0.0', hostPort: 10_000 + i }],
      }));
      await firewall.replace({ networks: [network], endpoints });
      await firewall.removeEndpoint('e1999', 'br0');
      await firewall.addEndpoint(endpoints[1999]!);
      await firewall.replace({ networks: [network], endpoints: [] });
    } finally {
      await firewall.destroy();
      firewall.close();
    }
  });

  it('refuses a port that leads to another endpoint already, and stays as it was', async () => {
    const name = uniqueName();
    const firewall = createNftablesFirewall({ kernel: nativeKernel(), tableName: name });
    try {
      await firewall.addNetwork(network);
      await firewall.addEndpoint(endpoint);
      const thief = { ...endpoint, id: 'e2', ...inside(1), ipv4Address: '172.17.0.3' };
      await expect(firewall.addEndpoint(thief)).rejects.toMatchObject({ code: 'EEXIST' });
      await firewall.removeEndpoint('e2', 'br0');
      await firewall.addEndpoint({ ...thief, ports: [] });
    } finally {
      await firewall.destroy();
      firewall.close();
    }
  });
});
