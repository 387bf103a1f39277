/** Who builds, as BuildKit's clients are told. */
import { create } from '@bufbuild/protobuf';
import { platformOfProcess } from '@tare/image-spec';

import { WorkerRecordSchema, type WorkerRecord } from './gen/types_pb.ts';

/** This engine. */
export interface Worker {
  id: string;
  labels: Record<string, string>;
  version: string;
}

/** What clients ask for before they build. */
export function workerRecord({ id, labels, version }: Worker): WorkerRecord {
  const { os, architecture, variant = '' } = platformOfProcess(process);
  return create(WorkerRecordSchema, {
    id,
    labels,
    platforms: [{ os, architecture, variant }],
    buildkitVersion: { package: 'tare', version, revision: '' },
  });
}
