/** Netlink in TypeScript: rtnetlink and conntrack messages, and a connection to exchange them over. */

export { NetdriverError, NetlinkDecodeError, NetlinkError } from '../errors.ts';
export {
  addAddress,
  decodeAddress,
  deleteAddress,
  dumpAddresses,
  RTM_ADDRESS,
  type InterfaceAddress,
} from './address.ts';
export { Attributes, AttributeWriter } from './attributes.ts';
export { NetlinkConnection, type NetlinkTransport } from './connection.ts';
export { deleteFlow, deleteFlowsOf, deleteFlowsToPort, listFlows } from './conntrack.ts';
export { NETLINK_GROUP, netlinkEvents, type NetlinkEventSource } from './events.ts';
export { addressBytes, addressFamily, addressText, AF } from './ip-address.ts';
export {
  createBridge,
  createIpvlan,
  createMacvlan,
  createVeth,
  createVlan,
  decodeLink,
  deleteLink,
  deleteLinkGroup,
  dumpLinks,
  getLink,
  IFF,
  IPVLAN_FLAG,
  IPVLAN_MODE,
  macBytes,
  macText,
  MACVLAN_MODE,
  OPERSTATE,
  PORT_STATE,
  RTM_LINK,
  setBridgePort,
  setLink,
  type Link,
  type LinkSelector,
} from './link.ts';
export {
  decodeAnswer,
  decodeMessages,
  encodeMessage,
  NLM_F,
  NLMSG,
  type NetlinkAnswer,
  type NetlinkMessage,
  type NetlinkRequest,
} from './message.ts';
export {
  addNeighbour,
  decodeNeighbour,
  deleteNeighbour,
  dumpNeighbours,
  NEIGHBOUR_STATE,
  RTM_NEIGHBOUR,
  type Neighbour,
} from './neighbour.ts';
export {
  addLoopbackRoute,
  addRoute,
  decodeRoute,
  deleteRoute,
  dumpRoutes,
  lookUpRoute,
  MAIN_TABLE,
  ROUTE_SCOPE,
  ROUTE_TYPE,
  RTM_ROUTE,
  type Route,
  type RouteOptions,
} from './route.ts';
export {
  addRoutingRule,
  decodeRoutingRule,
  deleteRoutingRule,
  dumpRoutingRules,
  RTM_RULE,
  type RoutingRule,
} from './rule.ts';
