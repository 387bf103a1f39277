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
  const all = { referrers: true, untag: true, discovery: true, sha512: true, exact: true };
  conformanceSuite('ours', { ...all, url: () => registry.url });
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
  const none = { referrers: false, untag: false, discovery: false, sha512: false, exact: false };
  conformanceSuite('docker-registry', { ...none, url: () => `http://${registry.host}` });
});
