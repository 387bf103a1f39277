/** The mode without a network. */

import { closeSync } from 'node:fs';
import { openNetlink, openNetworkNamespace } from '@tare/runtime-native/netlink';
import { expect, it } from 'vitest';

import { bringUpLoopback } from '../src/index.ts';
import { decodeLink, dumpLinks, IFF, NetlinkConnection } from '../src/netlink/index.ts';
import { describeInNamespace, Lab } from './lab/namespaces.ts';

describeInNamespace('a sandbox without a network', () => {
  it('has a loopback that is up, and nothing else', async () => {
    await using lab = await Lab.open();
    const sandbox = await lab.sandbox();
    await bringUpLoopback(sandbox);
    const fd = openNetworkNamespace(sandbox);
    using connection = new NetlinkConnection(openNetlink({ protocol: 'route', netns: fd }));
    closeSync(fd);
    const links = (await connection.ask(dumpLinks())).flatMap((message) => decodeLink(message) ?? []);
    expect(links.map(({ name, flags }) => [name, flags & IFF.UP])).toEqual([['lo', IFF.UP]]);
    const agent = await lab.agent(sandbox);
    await agent.serve('self', 8080);
    expect(await agent.tcp('127.0.0.1', 8080)).toBe('self 127.0.0.1');
  });

  it('is not made of what is no network namespace', async () => {
    await expect(bringUpLoopback('/nonexistent/sandbox')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(bringUpLoopback('/etc/hostname')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
