/** CNI plugins behind the interface of network drivers. */

export { createCniDriver, type CniDriverOptions, type CniNetworkConfig } from './driver.ts';
export type { CniPlugin } from './plugins.ts';
