/** Every command and group of flags of the stock docker CLI. */
import { testCommands } from './command-table.ts';

testCommands('docker');
