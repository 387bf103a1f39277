/** Networks, and endpoints of containers on them. */
import { z } from 'zod';
import { flag, integer, text, textMap, texts, time } from './values.ts';

export const secondaryAddress = z.strictObject({
  Addr: text,
  PrefixLen: integer,
});

export const endpointIPAMConfig = z.strictObject({
  IPv4Address: text.optional(),
  IPv6Address: text.optional(),
  LinkLocalIPs: texts.optional(),
});

export const endpointSettings = z.strictObject({
  IPAMConfig: endpointIPAMConfig.nullable(),
  Links: texts.nullable(),
  Aliases: texts.nullable(),
  MacAddress: text,
  DriverOpts: textMap.nullable(),
  GwPriority: integer,
  NetworkID: text,
  EndpointID: text,
  Gateway: text,
  IPAddress: text,
  IPPrefixLen: integer,
  IPv6Gateway: text,
  GlobalIPv6Address: text,
  GlobalIPv6PrefixLen: integer,
  DNSNames: texts.nullable(),
});

export const ipamConfig = z.strictObject({
  Subnet: text.optional(),
  IPRange: text.optional(),
  Gateway: text.optional(),
  AuxiliaryAddresses: textMap.optional(),
});

export const ipam = z.strictObject({
  Driver: text,
  Options: textMap.nullable(),
  Config: z.array(ipamConfig).nullable(),
});

export const configReference = z.strictObject({
  Network: text,
});

export const endpointResource = z.strictObject({
  Name: text,
  EndpointID: text,
  MacAddress: text,
  IPv4Address: text,
  IPv6Address: text,
});

export const networkInspect = z.strictObject({
  Name: text,
  Id: text,
  Created: time,
  Scope: text,
  Driver: text,
  EnableIPv4: flag,
  EnableIPv6: flag,
  IPAM: ipam,
  Internal: flag,
  Attachable: flag,
  Ingress: flag,
  ConfigFrom: configReference,
  ConfigOnly: flag,
  Containers: z.record(text, endpointResource).nullable(),
  Options: textMap.nullable(),
  Labels: textMap.nullable(),
});

export const networksPruned = z.strictObject({
  NetworksDeleted: texts.nullable(),
});

export const networkCreated = z.strictObject({
  Id: text,
  Warning: text,
});
