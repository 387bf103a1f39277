import { describe, expect, it } from 'vitest';

import { inspectPorts, listPorts, portMappings } from '../../src/networks/ports.ts';

describe('portMappings', () => {
  it('reads every form of a binding', () => {
    expect(
      portMappings(
        {},
        {
          PortBindings: {
            '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '8080' }, { HostPort: '9000-9010' }],
            '53/udp': [{}],
            '81': [{ HostPort: '0' }],
            '7000-7001/tcp': [{}],
            '99/tcp': null,
            '90/sctp': [{ HostIp: '::1', HostPort: '9090' }],
          },
        },
      ),
    ).toEqual([
      // integer-like keys come first, whatever the order of the text
      { protocol: 'tcp', containerPort: 81 },
      { protocol: 'tcp', containerPort: 80, hostIp: '127.0.0.1', hostPort: 8080 },
      { protocol: 'tcp', containerPort: 80, hostPort: { from: 9000, to: 9010 } },
      { protocol: 'udp', containerPort: 53 },
      { protocol: 'tcp', containerPort: 7000 },
      { protocol: 'tcp', containerPort: 7001 },
      { protocol: 'sctp', containerPort: 90, hostIp: '::1', hostPort: 9090 },
    ]);
  });

  it('publishes all exposed ports that are not bound', () => {
    expect(
      portMappings(
        { ExposedPorts: { '80/tcp': {}, '443/tcp': {} } },
        { PublishAllPorts: true, PortBindings: { '80/tcp': [{ HostPort: '8080' }] } },
      ),
    ).toEqual([
      { protocol: 'tcp', containerPort: 80, hostPort: 8080 },
      { protocol: 'tcp', containerPort: 443 },
    ]);
  });

  it('says what it cannot publish', () => {
    expect(() => portMappings({}, { PortBindings: { '80/dccp': [{}] } })).toThrow('invalid protocol: dccp');
    expect(() => portMappings({}, { PortBindings: { '80-79/tcp': [{}] } })).toThrow('80-79/tcp');
  });
});

describe('inspectPorts and listPorts', () => {
  const config = { ExposedPorts: { '443/tcp': {}, '80/tcp': {} } };
  const published = [{ protocol: 'tcp' as const, containerPort: 80, hostIp: '0.0.0.0', hostPort: 8080 }];

  it('shows exposed ports without a binding as null', () => {
    expect(inspectPorts(config, published)).toEqual({
      '443/tcp': null,
      '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8080' }],
    });
  });

  it('lists them flat, by port', () => {
    expect(listPorts(config, published)).toEqual([
      { IP: '0.0.0.0', PrivatePort: 80, PublicPort: 8080, Type: 'tcp' },
      { PrivatePort: 443, Type: 'tcp' },
    ]);
  });
});
