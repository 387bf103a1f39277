import { describe, it } from 'vitest';
import { MemoryContent } from '../../src/content/index.ts';
import { contentStoreSuite } from '../../src/testing/index.ts';

contentStoreSuite({ describe, it }, 'MemoryContent', async () => new MemoryContent());
