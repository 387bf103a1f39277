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
const cp = entry(
  'Copy files/folders between a container and the local filesystem',
  () => import('./commands/cp.ts'),
);
const update = entry('Update configuration of one or more containers', () => import('./commands/update.ts'));
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

const checkpointLs = part(
  'List checkpoints for a container',
  async () => (await import('./commands/checkpoint.ts')).ls,
);
const checkpointRm = part('Remove a checkpoint', async () => (await import('./commands/checkpoint.ts')).rm);
const contextLs = part('List contexts', async () => (await import('./commands/context.ts')).ls);
const contextRm = part('Remove one or more contexts', async () => (await import('./commands/context.ts')).rm);
const pluginLs = part('List plugins', async () => (await import('./commands/plugin.ts')).ls);
const pluginRm = part('Remove one or more plugins', async () => (await import('./commands/plugin.ts')).rm);

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
  checkpoint: {
    summary: 'Manage checkpoints',
    commands: {
      create: part(
        'Create a checkpoint from a running container',
        async () => (await import('./commands/checkpoint.ts')).create,
      ),
      list: alias(checkpointLs),
      ls: checkpointLs,
      remove: alias(checkpointRm),
      rm: checkpointRm,
    },
  },
  __complete: alias(
    entry('List how a command line may go on, for shells', () => import('./commands/complete.ts')),
  ),
  completion: entry('Print the completion script for a shell', () => import('./commands/completion.ts')),
  container: {
    summary: 'Manage containers',
    commands: {
      attach,
      commit,
      cp,
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
      update,
      wait,
    },
  },
  commit,
  context: {
    summary: 'Manage contexts',
    commands: {
      create: part('Create a context', async () => (await import('./commands/context.ts')).create),
      export: part(
        'Export a context to a tar archive FILE or a tar stream on STDOUT.',
        async () => (await import('./commands/context.ts')).exportContext,
      ),
      import: part(
        'Import a context from a tar or zip file',
        async () => (await import('./commands/context.ts')).importContext,
      ),
      inspect: part(
        'Display detailed information on one or more contexts',
        async () => (await import('./commands/context.ts')).inspect,
      ),
      list: alias(contextLs),
      ls: contextLs,
      remove: alias(contextRm),
      rm: contextRm,
      show: part(
        'Print the name of the current context',
        async () => (await import('./commands/context.ts')).show,
      ),
      update: part('Update a context', async () => (await import('./commands/context.ts')).update),
      use: part('Set the current docker context', async () => (await import('./commands/context.ts')).use),
    },
  },
  cp,
  create,
  diff,
  daemon: entry('Run the Tare daemon', () => import('./commands/daemon.ts')),
  doctor: entry(
    'Tell what this machine offers for containers, what it lacks, and how to get it',
    () => import('./commands/doctor.ts'),
  ),
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
  manifest: {
    summary: 'Manage image manifests and manifest lists',
    commands: {
      annotate: part(
        'Add additional information to a local image manifest',
        async () => (await import('./commands/manifest.ts')).annotate,
      ),
      create: part(
        'Create a local manifest list for annotating and pushing to a registry',
        async () => (await import('./commands/manifest.ts')).create,
      ),
      inspect: part(
        'Display an image manifest, or manifest list',
        async () => (await import('./commands/manifest.ts')).inspect,
      ),
      push: part(
        'Push a manifest list to a repository',
        async () => (await import('./commands/manifest.ts')).push,
      ),
      rm: part(
        'Delete one or more manifest lists from local storage',
        async () => (await import('./commands/manifest.ts')).rm,
      ),
    },
  },
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
  plugin: {
    summary: 'Manage plugins',
    commands: {
      create: part(
        'Create a plugin from a rootfs and configuration. Plugin data directory must contain config.json and rootfs directory.',
        async () => (await import('./commands/plugin.ts')).create,
      ),
      disable: part('Disable a plugin', async () => (await import('./commands/plugin.ts')).disable),
      enable: part('Enable a plugin', async () => (await import('./commands/plugin.ts')).enable),
      inspect: part(
        'Display detailed information on one or more plugins',
        async () => (await import('./commands/plugin.ts')).inspect,
      ),
      install: part('Install a plugin', async () => (await import('./commands/plugin.ts')).install),
      list: alias(pluginLs),
      ls: pluginLs,
      push: part('Push a plugin to a registry', async () => (await import('./commands/plugin.ts')).push),
      remove: alias(pluginRm),
      rm: pluginRm,
      set: part('Change settings for a plugin', async () => (await import('./commands/plugin.ts')).set),
      upgrade: part('Upgrade an existing plugin', async () => (await import('./commands/plugin.ts')).upgrade),
    },
  },
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
      'dial-stdio': alias(
        entry(
          'Proxy the stdio stream to the daemon connection. Should not be invoked manually.',
          () => import('./commands/dial-stdio.ts'),
        ),
      ),
      df: entry('Show disk usage', () => import('./commands/system-df.ts')),
      events,
      info,
      prune: part('Remove unused data', async () => (await import('./commands/prune.ts')).system),
    },
  },
  tag,
  top,
  trust: {
    summary: 'Manage trust on Docker images (retired)',
    commands: {
      inspect: part(
        'Return low-level information about keys and signatures',
        async () => (await import('./commands/trust.ts')).inspect,
      ),
      key: {
        summary: 'Manage keys for signing Docker images',
        commands: {
          generate: part(
            'Generate and load a signing key-pair',
            async () => (await import('./commands/trust.ts')).keyGenerate,
          ),
          load: part(
            'Load a private key file for signing',
            async () => (await import('./commands/trust.ts')).keyLoad,
          ),
        },
      },
      revoke: part('Remove trust for an image', async () => (await import('./commands/trust.ts')).revoke),
      sign: part('Sign an image', async () => (await import('./commands/trust.ts')).sign),
      signer: {
        summary: 'Manage entities who can sign Docker images',
        commands: {
          add: part('Add a signer', async () => (await import('./commands/trust.ts')).signerAdd),
          remove: part('Remove a signer', async () => (await import('./commands/trust.ts')).signerRemove),
        },
      },
    },
  },
  ui: entry(
    'Show the daemon in a browser: containers, images, networks, volumes, Jobs and events',
    () => import('./commands/ui.ts'),
  ),
  unpause,
  update,
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
