/** Credentials for registries, which a build's client keeps. */
import type { RegistryAuth } from '../images/remote.ts';
import { Auth } from './gen/session_pb.ts';
import type { Session } from './sessions.ts';

/** What the client has for a registry; undefined for nothing. */
export async function credentials(session: Session, registry: string): Promise<RegistryAuth | undefined> {
  if (!session.serves('/moby.filesync.v1.Auth/Credentials')) return undefined;
  const host = registry === 'docker.io' ? 'registry-1.docker.io' : registry;
  const { username, secret } = await session.client(Auth).credentials({ host });
  if (secret === '') return undefined;
  return username === '' ? { identityToken: secret } : { username, password: secret };
}
