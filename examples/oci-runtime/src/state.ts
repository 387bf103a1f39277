/** The state of containers as runc prints it. */
import { userInfo } from 'node:os';
import type { Container, ContainerState } from '@tare/runtime-native';

/** The version of the runtime spec that the state is of. */
export const SPEC_VERSION = '1.2.1';

/** `state`'s document; its fields come in this order. */
export interface StateDocument {
  ociVersion: string;
  id: string;
  pid: number;
  status: string;
  bundle: string;
  rootfs: string;
  created: string;
  annotations?: Record<string, string>;
  owner: string;
}

export async function stateOf(container: Container, owner = ''): Promise<StateDocument> {
  return document(await container.state(), container, owner);
}

function document(state: ContainerState, { spec }: Container, owner: string): StateDocument {
  const { id, pid, status, bundle = '', createdAt, annotations } = state;
  return {
    ociVersion: SPEC_VERSION,
    id,
    pid,
    status,
    bundle,
    rootfs: spec.root?.path ?? '',
    created: createdAt.toISOString(),
    ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
    owner,
  };
}

/** Who owns the containers below a state directory that only its maker may enter. */
export function owner(): string {
  return userInfo().username;
}
