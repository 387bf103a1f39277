/** Brings up the loopback of the network namespace it is run in. */
import { bringUpLoopback } from '@tare/netdriver';

await bringUpLoopback('/proc/self/ns/net');
