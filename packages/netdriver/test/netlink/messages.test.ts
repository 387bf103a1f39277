/** Requests of the routing and conntrack families, byte for byte, and the decoders on bytes they cannot trust. */

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  addAddress,
  addNeighbour,
  addRoute,
  addRoutingRule,
  AF,
  createBridge,
  createIpvlan,
  createMacvlan,
  createVeth,
  createVlan,
  decodeAddress,
  decodeAnswer,
  decodeLink,
  decodeMessages,
  decodeNeighbour,
  decodeRoute,
  decodeRoutingRule,
  deleteFlow,
  deleteFlowsOf,
  deleteFlowsToPort,
  deleteLink,
  deleteLinkGroup,
  deleteNeighbour,
  dumpRoutes,
  encodeMessage,
  getLink,
  listFlows,
  NetlinkDecodeError,
  NLMSG,
  setBridgePort,
  setLink,
  type NetlinkRequest,
} from '../../src/netlink/index.ts';

/** Hex text with spaces, line breaks and `# remarks` taken out. */
function bytes(text: string): string {
  return text.replaceAll(/#.*$/gm, '').replaceAll(/\s/g, '');
}

function encoded(request: NetlinkRequest): string {
  return encodeMessage(request, 1).toString('hex');
}

describe('link requests', () => {
  it('make a bridge without spanning tree or delay', () => {
    const request = createBridge({ name: 'tare0', macAddress: '02:42:ac:11:00:01', mtu: 1500, group: 7 });
    expect(encoded(request)).toBe(
      bytes(`
        6c000000 1000 0006 01000000 00000000  # NEWLINK, CREATE|EXCL
        00000000 00000000 00000000 00000000   # ifinfomsg
        0a00 0300 7461726530000000            # IFNAME
        0a00 0100 0242ac1100010000            # ADDRESS
        0800 0400 dc050000                    # MTU
        0800 1b00 07000000                    # GROUP
        2400 1280                             # LINKINFO
          0b00 0100 6272696467650000          #   KIND bridge
          1400 0280                           #   DATA
            0800 0500 00000000                #     STP_STATE off
            0800 0100 00000000                #     FORWARD_DELAY none`),
    );
  });

  it('make a veth pair: one end up in the bridge, the peer down in another namespace', () => {
    const peer = { name: 'eth0', macAddress: '02:42:ac:11:00:02', namespaceFd: 9 };
    const request = createVeth({ name: 'veth1', mtu: 1500, group: 7, master: 3, peer });
    expect(encoded(request)).toBe(
      bytes(`
        94000000 1000 0006 01000000 00000000
        00000000 00000000 01000000 01000000   # flags and change: UP
        0a00 0300 7665746831000000            # IFNAME
        0800 0a00 03000000                    # MASTER
        0800 0400 dc050000                    # MTU
        0800 1b00 07000000                    # GROUP
        5000 1280                             # LINKINFO
          0900 0100 7665746800000000          #   KIND veth
          4000 0280                           #   DATA
            3c00 0180                         #     PEER
              00000000 00000000 00000000 00000000
              0900 0300 6574683000000000      #       IFNAME
              0a00 0100 0242ac1100020000      #       ADDRESS
              0800 0400 dc050000              #       MTU
              0800 1c00 09000000              #       NET_NS_FD`),
    );
  });

  it('change what is named and nothing else', () => {
    expect(encoded(setLink({ index: 5 }, { up: false, group: 8 }))).toBe(
      bytes(`28000000 1300 0000 01000000 00000000
             00000000 05000000 00000000 01000000   # change UP to down
             0800 1b00 08000000`),
    );
    expect(encoded(setLink({ index: 5 }, { alias: 'mark' }))).toBe(
      bytes(`28000000 1300 0000 01000000 00000000
             00000000 05000000 00000000 00000000
             0800 1400 6d61726b                    # IFALIAS, no NUL`),
    );
    expect(encoded(setBridgePort(5, { state: 0, hairpin: true, isolated: false }))).toBe(
      bytes(`3c000000 1300 0000 01000000 00000000
             07000000 05000000 00000000 00000000   # AF_BRIDGE
             1c00 0c80                             # PROTINFO
               0500 0100 00000000                  #   STATE disabled
               0500 0400 01000000                  #   MODE hairpin
               0500 2100 00000000                  #   ISOLATED`),
    );
  });

  it('find and delete by index, name or group', () => {
    expect(encoded(getLink({ name: 'eth0' }))).toBe(
      bytes(
        `2c000000 1200 0000 01000000 00000000 00000000000000000000000000000000 0900 0300 6574683000000000`,
      ),
    );
    expect(encoded(deleteLink({ index: 6 }))).toBe(
      bytes(`20000000 1100 0000 01000000 00000000 00000000 06000000 00000000 00000000`),
    );
    expect(encoded(deleteLinkGroup(7))).toBe(
      bytes(`28000000 1100 0000 01000000 00000000 00000000000000000000000000000000 0800 1b00 07000000`),
    );
  });

  it('make links on the wire of another', () => {
    expect(
      encoded(
        createMacvlan({
          name: 'eth0',
          parent: 5,
          namespaceFd: 9,
          macAddress: '02:42:ac:11:00:02',
          mode: 'bridge',
        }),
      ),
    ).toBe(
      bytes(`
        64000000 1000 0006 01000000 00000000
        00000000 00000000 00000000 00000000
        0900 0300 6574683000000000            # IFNAME
        0800 0500 05000000                    # LINK
        0a00 0100 0242ac1100020000            # ADDRESS
        0800 1c00 09000000                    # NET_NS_FD
        1c00 1280                             # LINKINFO
          0c00 0100 6d6163766c616e00          #   KIND macvlan
          0c00 0280 0800 0100 04000000        #   DATA { MODE bridge }`),
    );
    expect(encoded(createIpvlan({ name: 'eth0', parent: 5, mode: 'l3', flag: 'private' }))).toContain(
      bytes(`0b00 0100 6970766c616e0000 1400 0280 0600 0100 01000000 0600 0200 01000000`),
    );
    expect(encoded(createVlan({ name: 'eth0.7', parent: 5, vlanId: 7 }))).toContain(
      bytes(`0900 0100 766c616e00000000 0c00 0280 0600 0100 07000000`),
    );
  });

  it('refuse what is no MAC address', () => {
    const peer = { name: 'eth0', macAddress: '02:42:ac:11:00' };
    expect(() => createVeth({ name: 'v', mtu: 1500, group: 0, peer })).toThrow(RangeError);
  });
});

describe('address, route and neighbour requests', () => {
  it('carry an IPv4 address with its broadcast address', () => {
    expect(encoded(addAddress({ linkIndex: 2, address: '172.17.0.2', prefixLength: 16 }))).toBe(
      bytes(`30000000 1400 0006 01000000 00000000
             02 10 00 00 02000000                  # AF_INET, /16
             0800 0200 ac110002                    # LOCAL
             0800 0100 ac110002                    # ADDRESS
             0800 0400 ac11ffff                    # BROADCAST`),
    );
  });

  it('carry an IPv6 address, without duplicate address detection', () => {
    expect(encoded(addAddress({ linkIndex: 2, address: 'fd00::2', prefixLength: 64 }))).toBe(
      bytes(`40000000 1400 0006 01000000 00000000
             0a 40 02 00 02000000                  # AF_INET6, /64, NODAD
             1400 0200 fd000000000000000000000000000002
             1400 0100 fd000000000000000000000000000002`),
    );
  });

  it('lead a route through a gateway', () => {
    expect(encoded(addRoute({ gateway: '172.17.0.1', linkIndex: 2 }))).toBe(
      bytes(`2c000000 1800 0006 01000000 00000000
             02 00 00 00 fe 04 00 01 00000000      # AF_INET, table main, static, unicast
             0800 0500 ac110001                    # GATEWAY
             0800 0400 02000000                    # OIF`),
    );
    const destination = { address: '10.0.0.0', prefixLength: 8 };
    expect(encoded(addRoute({ destination, gateway: '172.17.0.1', linkIndex: 2 }))).toContain(
      '080001000a000000',
    );
  });

  it('lead routes by metric and table, and rules to tables', () => {
    const destination = { address: '2001:db8::', prefixLength: 32 };
    expect(encoded(addRoute({ destination, linkIndex: 5, metric: 9, table: 1000, replace: true }))).toBe(
      bytes(`
        48000000 1800 0005 01000000 00000000  # NEWROUTE, CREATE|REPLACE
        0a200000 00040001 00000000            # rtmsg: AF_INET6, /32, table beyond its byte
        1400 0100 20010db8000000000000000000000000
        0800 0400 05000000                    # OIF
        0800 0600 09000000                    # PRIORITY
        0800 0f00 e8030000                    # TABLE`),
    );
    const from = { address: '192.0.2.0', prefixLength: 24 };
    expect(encoded(addRoutingRule({ family: AF.INET, priority: 90, table: 100, from }))).toBe(
      bytes(`
        34000000 2000 0006 01000000 00000000  # NEWRULE, CREATE|EXCL
        02001800 64000001 00000000            # fib_rule_hdr: from /24, table 100, look up
        0800 0600 5a000000                    # PRIORITY
        0800 0f00 64000000                    # TABLE
        0800 0200 c0000200                    # SRC`),
    );
  });

  it('say where a neighbour is', () => {
    expect(
      encoded(addNeighbour({ linkIndex: 5, address: '192.0.2.9', macAddress: '02:00:00:00:00:99' })),
    ).toBe(
      bytes(`
        30000000 1c00 0005 01000000 00000000  # NEWNEIGH, CREATE|REPLACE
        02000000 05000000 80000000            # ndmsg: permanent
        0800 0100 c0000209                    # DST
        0a00 0200 0200000000990000            # LLADDR`),
    );
  });

  it('ask for routes and forget neighbours', () => {
    expect(encoded(dumpRoutes(AF.INET))).toBe(
      bytes(`1c000000 1a00 0003 01000000 00000000 02000000 00000000 00000000`),
    );
    expect(encoded(deleteNeighbour({ linkIndex: 2, address: '172.17.0.2' }))).toBe(
      bytes(`24000000 1d00 0000 01000000 00000000 02000000 02000000 00000000 0800 0100 ac110002`),
    );
  });
});

describe('conntrack requests', () => {
  it('name the flows that an address answers by its address alone', () => {
    expect(encoded(deleteFlowsOf('172.17.0.2', 'answers'))).toBe(
      bytes(`38000000 0201 0000 01000000 00000000
             02 00 0000                            # nfgenmsg, AF_INET
             1000 0280                             # TUPLE_REPLY
               0c00 0180                           #   IP
                 0800 0100 ac110002                #     V4_SRC
             1400 1980                             # FILTER
               0800 0100 00000000                  #   ORIG_FLAGS
               0800 0200 01000000                  #   REPLY_FLAGS: source address`),
    );
  });

  it('name the flows to a port by protocol and port', () => {
    expect(encoded(deleteFlowsToPort({ family: AF.INET, protocol: 17, port: 8080 }))).toBe(
      bytes(`40000000 0201 0000 01000000 00000000
             02 00 0000
             1800 0180                             # TUPLE_ORIG
               1400 0280                           #   PROTO
                 0500 0100 11000000                #     NUM udp
                 0600 0300 1f900000                #     DST_PORT, big endian
             1400 1980
               0800 0100 28000000                  #   protocol and destination port
               0800 0200 00000000`),
    );
  });
});

describe('conntrack requests for kernels that cannot delete by a filter', () => {
  it('list what the filter names', () => {
    const deletion = deleteFlowsOf('172.17.0.2', 'answers');
    const listing = encoded(listFlows(deletion));
    expect(listing.slice(0, 16)).toBe(bytes('38000000 0101 0003'));
    expect(listing.slice(16)).toBe(encoded(deletion).slice(16));
  });

  it('delete a listed flow by its tuple and its id', () => {
    const payload = Buffer.from(
      bytes(`02 00 0000
             1000 0180 0c00 0180 0800 0100 ac110002  # TUPLE_ORIG
             1000 0280 0c00 0180 0800 0100 ac110003  # TUPLE_REPLY
             0800 0300 0000018e                      # STATUS
             0800 0c00 12345678                      # ID`),
      'hex',
    );
    expect(encoded(deleteFlow({ type: 0x100, flags: 2, sequence: 1, portId: 1, payload }))).toBe(
      bytes(`2c000000 0201 0000 01000000 00000000
             02 00 0000
             1000 0180 0c00 0180 0800 0100 ac110002
             0800 0c00 12345678`),
    );
  });
});

describe('received messages', () => {
  const decoders = [decodeLink, decodeAddress, decodeRoute, decodeNeighbour, decodeRoutingRule];

  it('are split at their lengths', () => {
    const datagram = Buffer.concat([
      encodeMessage({ type: 16, flags: 2, payload: Buffer.from('abc') }, 7),
      encodeMessage({ type: NLMSG.DONE, flags: 2, payload: Buffer.alloc(4) }, 7),
    ]);
    expect(
      decodeMessages(datagram).map(({ type, sequence, payload }) => [type, sequence, payload.length]),
    ).toEqual([
      [16, 7, 3],
      [NLMSG.DONE, 7, 4],
    ]);
  });

  it('of any bytes at all are read, or refused with a decode error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (datagram) => {
        try {
          decodeMessages(datagram);
        } catch (error) {
          expect(error).toBeInstanceOf(NetlinkDecodeError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('with any payload at all are understood, or refused with a decode error', () => {
    const type = fc.constantFrom(2, 3, 16, 17, 20, 21, 24, 25, 28, 29, 32, 33);
    fc.assert(
      fc.property(
        type,
        fc.integer({ min: 0, max: 0xffff }),
        fc.uint8Array({ maxLength: 300 }),
        (type, flags, payload) => {
          const message = { type, flags, sequence: 1, portId: 0, payload };
          for (const decode of [...decoders, decodeAnswer]) {
            try {
              decode(message);
            } catch (error) {
              expect(error).toBeInstanceOf(NetlinkDecodeError);
            }
          }
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('with one damaged byte are understood, or refused with a decode error', () => {
    const whole = encodeMessage(
      createVeth({
        name: 'veth1',
        mtu: 1500,
        group: 7,
        master: 3,
        peer: { name: 'eth0', macAddress: '02:42:ac:11:00:02' },
      }),
      1,
    );
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 }), (at, value) => {
        const damaged = Buffer.from(whole);
        damaged[at] = value;
        try {
          for (const message of decodeMessages(damaged)) for (const decode of decoders) decode(message);
        } catch (error) {
          expect(error).toBeInstanceOf(NetlinkDecodeError);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('describe a link as it was asked for', () => {
    const peer = { name: 'eth0', macAddress: '02:42:ac:11:00:02' };
    const [message] = decodeMessages(
      encodeMessage(createVeth({ name: 'veth1', mtu: 1400, group: 7, master: 3, peer }), 1),
    );
    expect(decodeLink(message!)).toMatchObject({
      name: 'veth1',
      mtu: 1400,
      group: 7,
      master: 3,
      kind: 'veth',
      flags: 1,
    });
  });
});
