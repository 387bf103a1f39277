/** The same rows as for the stock docker CLI: `tare` stands in for it. */
import { testCommands } from './command-table.ts';

testCommands('tare');
