/** Every route of the engine, to look at. */
import { buildRoutes } from '../src/http/routes/build.ts';
import { buildKitRoutes } from '../src/http/routes/buildkit.ts';
import { containerFilesRoutes } from '../src/http/routes/container-files.ts';
import { containerRoutes } from '../src/http/routes/containers.ts';
import { eventRoutes } from '../src/http/routes/events.ts';
import { execRoutes } from '../src/http/routes/exec.ts';
import { imageFilesRoutes } from '../src/http/routes/image-files.ts';
import { imageRoutes } from '../src/http/routes/images.ts';
import { jobRoutes } from '../src/http/routes/jobs.ts';
import { metricsRoutes } from '../src/http/routes/metrics.ts';
import { networkRoutes } from '../src/http/routes/networks.ts';
import { refusedRoutes } from '../src/http/routes/refused.ts';
import { registryRoutes } from '../src/http/routes/registries.ts';
import { systemRoutes } from '../src/http/routes/system.ts';
import { volumeRoutes } from '../src/http/routes/volumes.ts';

/** What routes are built from is not touched before a request comes. */
const nothing = {} as never;
export const allRoutes = [
  ...buildRoutes({} as never),
  ...buildKitRoutes({} as never),
  ...containerFilesRoutes(nothing),
  ...containerRoutes(nothing),
  ...eventRoutes(nothing),
  ...execRoutes(nothing),
  ...imageFilesRoutes({} as never),
  ...imageRoutes(nothing),
  ...jobRoutes(nothing),
  ...metricsRoutes(nothing),
  ...networkRoutes(nothing, nothing),
  ...refusedRoutes(),
  ...registryRoutes(nothing),
  ...systemRoutes(nothing),
  ...volumeRoutes(nothing),
];
