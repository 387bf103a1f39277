/** The program of the threads that unpack layers. */
import { serveUnpacking } from '@tare/layer-store/worker';
import { layerFs } from '@tare/runtime-native/syscalls';

serveUnpacking(layerFs);
