import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import { COMPONENTS, componentPath, fetchComponents } from '../../../test/lab/debian.ts';
import { startDebianRegistry, type LabRegistry } from '../../../test/lab/registry.ts';
import { startRegistry, type RunningRegistry } from '../src/index.ts';
import { conformanceSuite } from './conformance.ts';

describe('our registry', () => {
  let root: string;
  let registry: RunningRegistry;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'tare-conformance-'));
    registry = await startRegistry({ root });
  });
  afterAll(async () => {
    await registry.close();
    await rm(root, { recursive: true, force: true });
  });
  conformanceSuite('ours', { lacks: {}, url: () => registry.url });
});

// the suite itself is held against the reference implementation, as far as Debian's goes
if (componentPath(COMPONENTS.registry) === undefined) await fetchComponents();
const there = componentPath(COMPONENTS.registry) !== undefined;
if (!there) console.warn(`skipped: ${COMPONENTS.registry.costs}`);
describe.skipIf(!there)('the registry of Debian', () => {
  let registry: LabRegistry;
  beforeAll(async () => {
    registry = await startDebianRegistry();
  });
  afterAll(async () => registry?.[Symbol.asyncDispose]());
  conformanceSuite('docker-registry', {
    lacks: {
      referrers: 'version 2.8 is older than the referrers API and answers 404',
      untag: 'version 2.8 deletes manifests by their digest alone and refuses a tag',
      discovery: 'version 2.8 mounts only from a repository that is named',
      sha512: 'version 2.8 hashes what is pushed with sha256 alone and refuses other digests',
      exact: 'version 2.8 is older than what the specification says there',
    },
    url: () => `http://${registry.host}`,
  });
});
