/** Every command by name, loaded when it is run: starting one must not cost reading all. */
import type { AnyCommand } from './command.ts';

/** A command that can be loaded, or a group of them. */
export type Entry =
  | { summary: string; load(): Promise<AnyCommand>; hidden?: boolean }
  | { summary: string; commands: Readonly<Record<string, Entry>> };

type Load = () => Promise<{ command: AnyCommand }>;

const entry = (summary: string, load: Load): Entry => ({ summary, load: async () => (await load()).command });
const part = (summary: string, load: () => Promise<AnyCommand>): Entry => ({ summary, load });
/** The same command under another name, left out of the help. */
const alias = (of: Entry): Entry => ({ ...of, hidden: true }) as Entry;

const attach = entry(
  'Attach local standard input, output, and error streams to a running container',
  () => import('./commands/attach.ts'),
);
const commit = entry("Create a new image from a container's changes", () => import('./commands/commit.ts'));
const create = entry('Create a new container', () => import('./commands/create.ts'));
const diff = entry(
  "Inspect changes to files or directories on a container's filesystem",
  () => import('./commands/diff.ts'),
);
const exec = entry('Execute a command in a running container', () => import('./commands/exec.ts'));
const exportContainer = entry(
  "Export a container's filesystem as a tar archive",
  () => import('./commands/export.ts'),
);
const kill = entry('Kill one or more running containers', () => import('./commands/kill.ts'));
const logs = entry('Fetch the logs of a container', () => import('./commands/logs.ts'));
const pause = entry('Pause all processes within one or more containers', () => import('./commands/pause.ts'));
const port = entry(
  'List port mappings or a specific mapping for the container',
  () => import('./commands/port.ts'),
);
const ps = entry('List containers', () => import('./commands/ps.ts'));
const rename = entry('Rename a container', () => import('./commands/rename.ts'));
const restart = entry('Restart one or more containers', () => import('./commands/restart.ts'));
const rm = entry('Remove one or more containers', () => import('./commands/rm.ts'));
const run = entry('Create and run a new container from an image', () => import('./commands/run.ts'));
const start = entry('Start one or more stopped containers', () => import('./commands/start.ts'));
const stats = entry(
  'Display a live stream of container(s) resource usage statistics',
  () => import('./commands/stats.ts'),
);
const stop = entry('Stop one or more running containers', () => import('./commands/stop.ts'));
const top = entry('Display the running processes of a container', () => import('./commands/top.ts'));
const unpause = entry(
  'Unpause all processes within one or more containers',
  () => import('./commands/unpause.ts'),
);
const wait = entry(
  'Block until one or more containers stop, then print their exit codes',
  () => import('./commands/wait.ts'),
);

const build = entry('Build an image from a Dockerfile', () => import('./commands/build.ts'));
const history = entry('Show the history of an image', () => import('./commands/history.ts'));
const images = entry('List images', () => import('./commands/images.ts'));
const importImage = entry(
  'Import the contents from a tarball to create a filesystem image',
  () => import('./commands/import.ts'),
);
const load = entry('Load an image from a tar archive or STDIN', () => import('./commands/load.ts'));
const pull = entry('Download an image from a registry', () => import('./commands/pull.ts'));
const push = entry('Upload an image to a registry', () => import('./commands/push.ts'));
const rmi = entry('Remove one or more images', () => import('./commands/rmi.ts'));
const save = entry(
  'Save one or more images to a tar archive (streamed to STDOUT by default)',
  () => import('./commands/save.ts'),
);
const search = entry('Search a registry for images', () => import('./commands/search.ts'));
const tag = entry('Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE', () => import('./commands/tag.ts'));

const events = entry('Get real time events from the server', () => import('./commands/events.ts'));
const info = entry('Display system-wide information', () => import('./commands/info.ts'));

const networkLs = part('List networks', async () => (await import('./commands/network.ts')).ls);
const networkRm = part('Remove one or more networks', async () => (await import('./commands/network.ts')).rm);
const volumeLs = part('List volumes', async () => (await import('./commands/volume.ts')).ls);
const volumeRm = part('Remove one or more volumes', async () => (await import('./commands/volume.ts')).rm);

/** The whole command line. */
export const commandTable: Readonly<Record<string, Entry>> = {
  attach,
  build,
  builder: {
    summary: 'Manage builds',
    commands: {
      build,
      prune: part('Remove build cache', async () => (await import('./commands/prune.ts')).builder),
    },
  },
  container: {
    summary: 'Manage containers',
    commands: {
      attach,
      commit,
      create,
      diff,
      exec,
      export: exportContainer,
      inspect: part(
        'Display detailed information on one or more containers',
        async () => (await import('./commands/inspect.ts')).container,
      ),
      kill,
      list: alias(ps),
      logs,
      ls: ps,
      pause,
      port,
      prune: part(
        'Remove all stopped containers',
        async () => (await import('./commands/prune.ts')).container,
      ),
      ps: alias(ps),
      remove: alias(rm),
      rename,
      restart,
      rm,
      run,
      start,
      stats,
      stop,
      top,
      unpause,
      wait,
    },
  },
  commit,
  create,
  diff,
  daemon: entry('Run the Tare daemon', () => import('./commands/daemon.ts')),
  events,
  exec,
  export: exportContainer,
  history,
  image: {
    summary: 'Manage images',
    commands: {
      build,
      history,
      import: importImage,
      inspect: part(
        'Display detailed information on one or more images',
        async () => (await import('./commands/inspect.ts')).image,
      ),
      list: alias(images),
      load,
      ls: images,
      prune: part('Remove unused images', async () => (await import('./commands/prune.ts')).image),
      pull,
      push,
      remove: alias(rmi),
      rm: rmi,
      save,
      tag,
    },
  },
  images,
  import: importImage,
  info,
  inspect: entry('Return low-level information on Docker objects', () => import('./commands/inspect.ts')),
  jobs: entry(
    "List the daemon's Jobs: every piece of work it does or has done",
    () => import('./commands/jobs.ts'),
  ),
  kill,
  load,
  login: entry('Authenticate to a registry', () => import('./commands/login.ts')),
  logout: entry('Log out from a registry', () => import('./commands/logout.ts')),
  logs,
  network: {
    summary: 'Manage networks',
    commands: {
      connect: part(
        'Connect a container to a network',
        async () => (await import('./commands/network.ts')).connect,
      ),
      create: part('Create a network', async () => (await import('./commands/network.ts')).create),
      disconnect: part(
        'Disconnect a container from a network',
        async () => (await import('./commands/network.ts')).disconnect,
      ),
      inspect: part(
        'Display detailed information on one or more networks',
        async () => (await import('./commands/inspect.ts')).network,
      ),
      list: alias(networkLs),
      ls: networkLs,
      prune: part('Remove all unused networks', async () => (await import('./commands/prune.ts')).network),
      remove: alias(networkRm),
      rm: networkRm,
    },
  },
  pause,
  port,
  ps,
  pull,
  push,
  rename,
  restart,
  rm,
  rmi,
  run,
  save,
  search,
  start,
  stats,
  stop,
  system: {
    summary: 'Manage Tare',
    commands: {
      df: entry('Show disk usage', () => import('./commands/system-df.ts')),
      events,
      info,
      prune: part('Remove unused data', async () => (await import('./commands/prune.ts')).system),
    },
  },
  tag,
  top,
  unpause,
  version: entry('Show the Tare version information', () => import('./commands/version.ts')),
  volume: {
    summary: 'Manage volumes',
    commands: {
      create: part('Create a volume', async () => (await import('./commands/volume.ts')).create),
      inspect: part(
        'Display detailed information on one or more volumes',
        async () => (await import('./commands/inspect.ts')).volume,
      ),
      list: alias(volumeLs),
      ls: volumeLs,
      prune: part('Remove unused local volumes', async () => (await import('./commands/prune.ts')).volume),
      remove: alias(volumeRm),
      rm: volumeRm,
    },
  },
  wait,
};
