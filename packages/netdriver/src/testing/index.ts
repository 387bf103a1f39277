/** For tests of drivers and of whoever speaks netlink: a conformance suite, a recorder. */

export { networkDriverSuite, type DriverHarness, type TestFramework } from './driver-suite.ts';
export {
  acknowledgeAll,
  hexDump,
  netlinkAnswer,
  recordNetlink,
  scriptNetlink,
  type NetlinkExchange,
  type NetlinkRecorder,
  type NetlinkScript,
} from './netlink-recorder.ts';
