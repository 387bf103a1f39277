/** What `version`, `info` and `df` say. */
import type { Config } from '../config.ts';
import { notImplemented } from '../errors.ts';
import type { EventBus } from '../events/event-bus.ts';
import { API_VERSION, MIN_API_VERSION } from '../http/api-version.ts';
import type { AuthConfig, SystemService } from '../http/routes/system.ts';
import type { StateDb } from '../state/db.ts';
import { arch, release } from 'node:os';
import { ENGINE_VERSION, TARE_VERSION } from '../version.ts';

export interface SystemInfoOptions {
  config: Config;
  db: StateDb;
  events: EventBus;
}

export class SystemInfo implements SystemService {
  readonly #options: SystemInfoOptions;

  constructor(options: SystemInfoOptions) {
    this.#options = options;
  }

  version(): Record<string, unknown> {
    const goArch = arch() === 'x64' ? 'amd64' : arch();
    return {
      Platform: { Name: `Tare ${TARE_VERSION}` },
      Components: [
        {
          Name: 'Engine',
          Version: ENGINE_VERSION,
          Details: { ApiVersion: API_VERSION, MinAPIVersion: MIN_API_VERSION, Os: 'linux', Arch: goArch },
        },
      ],
      Version: ENGINE_VERSION,
      ApiVersion: API_VERSION,
      MinAPIVersion: MIN_API_VERSION,
      GitCommit: '',
      GoVersion: '',
      Os: 'linux',
      Arch: goArch,
      KernelVersion: release(),
      BuildTime: '',
    };
  }

  info(): Promise<Record<string, unknown>> {
    return Promise.resolve({ ServerVersion: ENGINE_VERSION, DockerRootDir: this.#options.config.dataRoot });
  }

  authenticate(_credentials: AuthConfig): Promise<{ identityToken: string }> {
    return Promise.reject(notImplemented('login is not served yet'));
  }

  diskUsage(): Promise<Record<string, unknown>> {
    return Promise.resolve({});
  }
}
