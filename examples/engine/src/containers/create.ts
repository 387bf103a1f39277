/** `POST /containers/create`: everything a container owns before it first starts. */
import { mkdir, rm, stat } from 'node:fs/promises';
import { arch } from 'node:os';
import { posix } from 'node:path';

import { invalid, notFound } from '../errors.ts';
import type { Job } from '../jobs/job.ts';
import { step } from '../jobs/current.ts';
import { checkLogOptions } from '../logs/drivers.ts';
import { portMappings } from '../networks/ports.ts';
import { formatTime, nowNs } from '../time.ts';
import { allSettled } from '../settle.ts';
import { compareVersions } from '../http/api-version.ts';
import type { ContainerRecord, MountPoint, NetworkAttachment } from './container.ts';
import type { CreateRequest, EndpointSettings } from './create-request.ts';
import { discardUnsupported, withoutEffect } from './discard.ts';
import { writeInPlace } from './etc-files.ts';
import type { HostConfig } from './host-config.ts';
import { mergeConfig, pathAndArgs, type ImageDefaults } from './merge-config.ts';
import { copyUp } from './copy-up.ts';
import { newLinks } from './links.ts';
import { containerMounts } from './mounts.ts';
import { imageViewKey, removeSnapshots } from './mount-sources.ts';
import { newId, parseName, randomName } from './names.ts';
import { removeAnonymousVolumes } from './remove.ts';
import { adaptRequest } from './request-versions.ts';
import { rlimits, parseDeviceRule } from './resources.ts';
import { parseSecurityOptions } from './security.ts';
import { checkUserNamespace, freeIds, wantsOwnIds, type IdMaps } from './user-namespaces.ts';
import { validateConfig, validateHostConfig } from './validate.ts';
import { containerFiles, type ContainerWorld } from './world.ts';

/** What a client asks for. */
export interface CreateOptions {
  request: CreateRequest;
  /** A random one when empty. */
  name: string;
  /** `os/arch[/variant]`; the image must be for it. */
  platform: string;
  apiVersion: string;
  job: Job;
}

/**
 * Makes a container: its row, its writable layer, its volumes, its files.
 *
 * @throws {EngineError} `NOT_FOUND` for the image, `CONFLICT` for a taken name, `INVALID`
 */
export async function createContainer(
  world: ContainerWorld,
  options: CreateOptions,
): Promise<{ id: string; warnings: string[] }> {
  const { job } = options;
  if (Object.keys(options.request).length === 0) {
    throw invalid('config cannot be empty in order to create a container');
  }
  const { request, readOnlyNonRecursive, warnings } = adaptRequest(options.request, options.apiVersion);
  const { HostConfig: hostRequest = {}, NetworkingConfig: networking, ...ownConfig } = request;
  const name = options.name === '' ? '' : parseName(options.name);
  validateConfig(ownConfig);
  const wanted = withDefaults(world, hostRequest, options.apiVersion);
  validateHostConfig(wanted, ownConfig, world.hostFacts);
  checkUserNamespace(wanted, world.userNamespacePolicy);
  const discarded = discardUnsupported(wanted, world.supportedLimits);
  const hostConfig = discarded.limits;
  refuseUnsupported(hostConfig);

  const image = ownConfig.Image ? world.images.resolve(ownConfig.Image) : undefined;
  if (!image) throw notFound('no image was given: set Image');
  if (compareVersions(options.apiVersion, '1.41') >= 0) {
    checkPlatform(options.platform, image.config, ownConfig.Image ?? '');
  }
  const config = mergeConfig(ownConfig, (image.config.config ?? {}) as ImageDefaults);
  validateConfig(config);
  portMappings(config, hostConfig);
  const networks = plannedNetworks(world, hostConfig, networking?.EndpointsConfig ?? {});

  const id = newId();
  const mounts = containerMounts({
    binds: hostConfig.Binds ?? [],
    mounts: hostConfig.Mounts ?? [],
    volumes: Object.keys(config.Volumes ?? {}),
    tmpfs: Object.keys(hostConfig.Tmpfs ?? {}),
    inherited: inheritedMounts(world, hostConfig.VolumesFrom ?? []),
    volumeDriver: hostConfig.VolumeDriver ?? '',
    newVolumeName: newId,
    readOnlyNonRecursive,
  }).map((mount) =>
    mount.type === 'image' ? { ...mount, imageId: world.images.resolve(mount.source).id } : mount,
  );
  // last before the first change: no other request runs between this check and the row
  if (name !== '') world.store.checkName(name);
  const ownName = name || randomName((taken) => world.store.nameTaken(taken), id.slice(0, 12));
  const links = newLinks(world, hostConfig, ownName);
  const record: ContainerRecord = {
    id,
    name: ownName,
    created: formatTime(nowNs()),
    imageId: image.id,
    chainId: image.chainId,
    ...pathAndArgs(config),
    config,
    hostConfig: links ? { ...hostConfig, Links: links } : hostConfig,
    mounts,
    ...(wantsOwnIds(hostConfig) ? { ownIds: newIds(world) } : {}),
  };
  job.about(id);
  const container = world.store.insert(record, networks);
  job.onFailure(async () => {
    await rm(containerFiles(world.paths, id).directory, { recursive: true, force: true });
    await removeSnapshots(world, record);
    world.store.forget(container);
    await removeAnonymousVolumes(world, record.mounts);
  });
  await allSettled([
    step('snapshot', () => world.snapshotter.prepare(id, image.chainId, { signal: job.signal })),
    step('mounts', () => prepareMounts(world, record, job.signal)),
    prepareFiles(world, id),
  ]);
  await copyUp(world, record, job.signal);
  world.store.saveRecord(container);
  world.store.ready(container);
  world.store.publish(container, 'create');
  return { id, warnings: [...discarded.warnings, ...withoutEffect(hostConfig), ...warnings] };
}

function newIds({ store, userNamespacePolicy: { remap } }: ContainerWorld): IdMaps {
  return freeIds([
    ...store.allClaimed().flatMap(({ record }) => record.ownIds ?? []),
    ...(remap ? [remap] : []),
  ]);
}

/** The engine's defaults for what was not asked for. */
function withDefaults(world: ContainerWorld, request: HostConfig, apiVersion: string): HostConfig {
  const { cgroupVersion, defaults } = world;
  const atLeast = (version: string): boolean => compareVersions(apiVersion, version) >= 0;
  const host: HostConfig = { ...request };
  if (!host.ShmSize) host.ShmSize = defaults.shmBytes;
  // as much swap as memory, unless the client says
  if ((host.Memory ?? 0) > 0 && !host.MemorySwap) host.MemorySwap = host.Memory! * 2;
  if ((host.MemorySwappiness ?? -1) < 0) delete host.MemorySwappiness;
  if ((host.PidsLimit ?? 0) <= 0) delete host.PidsLimit;
  if (!host.IpcMode) host.IpcMode = atLeast('1.40') ? defaults.ipcMode || 'private' : 'shareable';
  if (!host.CgroupnsMode) {
    host.CgroupnsMode =
      defaults.cgroupNamespace || (cgroupVersion === 2 && atLeast('1.41') ? 'private' : 'host');
  }
  const driver = host.LogConfig?.Type || defaults.logDriver;
  host.LogConfig = {
    Type: driver,
    // the engine's options are those of its own driver
    Config: { ...(driver === defaults.logDriver ? defaults.logOptions : {}), ...host.LogConfig?.Config },
  };
  const missing = defaults.ulimits.filter(
    ({ Name: name }) => !host.Ulimits?.some((ulimit) => ulimit.Name === name),
  );
  if (missing.length > 0) host.Ulimits = [...(host.Ulimits ?? []), ...missing];
  host.RestartPolicy = {
    Name: host.RestartPolicy?.Name || 'no',
    MaximumRetryCount: host.RestartPolicy?.MaximumRetryCount ?? 0,
  };
  host.Runtime ||= 'native';
  // the stock CLI lets no other word through than `host`, in the place that is for it
  host.UsernsMode ||= parseSecurityOptions(host.SecurityOpt).userNamespace;
  return host;
}

function refuseUnsupported(host: HostConfig): void {
  parseSecurityOptions(host.SecurityOpt);
  rlimits(host, Number.POSITIVE_INFINITY);
  for (const rule of host.DeviceCgroupRules ?? []) parseDeviceRule(rule);
  if (host.Runtime && !['native', 'runc', 'io.containerd.runc.v2'].includes(host.Runtime)) {
    throw invalid(`unknown or invalid runtime name: ${host.Runtime}`);
  }
  checkLogOptions(host.LogConfig?.Type ?? '', host.LogConfig?.Config ?? {});
  const request = host.DeviceRequests?.[0];
  if (request) {
    const wanted = (request.Capabilities ?? []).map((list) => `[${list.join(' ')}]`).join(' ');
    throw invalid(`could not select device driver "${request.Driver ?? ''}" with capabilities: [${wanted}]`);
  }
  if (host.StorageOpt && Object.keys(host.StorageOpt).length > 0) {
    throw invalid("--storage-opt is supported only for overlay over xfs with 'pquota' mount option");
  }
}

/** @throws {EngineError} `NOT_FOUND`, which makes clients pull the image for the platform they want */
function checkPlatform(
  platform: string,
  image: { os: string; architecture: string },
  reference: string,
): void {
  if (platform === '') return;
  const [os, architecture] = platform.includes('/') ? platform.split('/') : ['linux', platform];
  const normal = (name = ''): string => ({ x86_64: 'amd64', aarch64: 'arm64', x64: 'amd64' })[name] ?? name;
  const wanted = normal(architecture || arch());
  if (os !== image.os || wanted !== normal(image.architecture)) {
    throw notFound(
      `image with reference ${reference} was found but its platform (${image.os}/${image.architecture}) does not ` +
        `match the specified platform (${os}/${wanted})`,
    );
  }
}

/** The networks that a container will be on, by name; one that is not there is an error of the start. */
function plannedNetworks(
  world: ContainerWorld,
  host: HostConfig,
  endpoints: Readonly<Record<string, EndpointSettings | null>>,
): Record<string, NetworkAttachment> {
  const mode = host.NetworkMode ?? 'bridge';
  if (mode.startsWith('container:')) return {};
  const nameOf = (text: string): string =>
    text === 'default' ? 'bridge' : (world.networks.lookup(text)?.name ?? text);
  const plan: Record<string, NetworkAttachment> = { [nameOf(mode)]: { networkId: '', settings: {} } };
  for (const [key, settings] of Object.entries(endpoints)) {
    const name = nameOf(key);
    if (!plan[name] && (mode === 'host' || mode === 'none')) {
      throw invalid(
        'conflicting options: cannot attach both user-defined and non-user-defined network-modes',
      );
    }
    plan[name] = { networkId: '', settings: settings ?? {} };
  }
  const bridge = plan['bridge']?.settings;
  if (bridge?.IPAMConfig?.IPv4Address || bridge?.IPAMConfig?.IPv6Address) {
    throw invalid('user specified IP address is supported on user defined networks only');
  }
  if (bridge?.Aliases?.length) {
    throw invalid('network-scoped alias is supported only for containers in user defined networks');
  }
  return plan;
}

function inheritedMounts(world: ContainerWorld, volumesFrom: readonly string[]): MountPoint[] {
  return volumesFrom.flatMap((spec) => {
    const [text = '', mode = 'rw'] = spec.split(':');
    if (!['rw', 'ro', 'z', 'Z'].includes(mode)) throw invalid(`invalid mode for volumes-from: ${mode}`);
    const { record } = world.store.find(text);
    return record.mounts.map(({ anonymous: _theirs, ...mount }) => ({
      ...mount,
      readWrite: mount.readWrite && mode !== 'ro',
      noCopy: true,
    }));
  });
}

/** Makes volumes, the directories of binds that are not there, and the views of images. */
async function prepareMounts(
  world: ContainerWorld,
  { id, hostConfig, mounts }: ContainerRecord,
  signal: AbortSignal,
): Promise<void> {
  for (const [index, mount] of mounts.entries()) {
    const request = hostConfig.Mounts?.find(
      ({ Target = '' }) => posix.resolve('/', Target) === mount.destination,
    );
    if (mount.type === 'volume') {
      const options = request?.VolumeOptions;
      await world.volumes.forMount(mount.name!, {
        anonymous: mount.anonymous === true,
        labels: options?.Labels,
        options: options?.DriverConfig?.Options,
      });
      mount.source = world.volumes.mountpoint(mount.name!);
    } else if (mount.type === 'bind') {
      await prepareBind(mount, request?.BindOptions?.CreateMountpoint === true);
    } else if (mount.type === 'image') {
      const { chainId } = world.images.resolve(mount.imageId!);
      await world.snapshotter.view(imageViewKey(id, index), chainId, { signal });
    }
  }
}

async function prepareBind(mount: MountPoint, create: boolean): Promise<void> {
  const there = await stat(mount.source).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw invalid(`invalid mount config for type "bind": ${error.message}`, { cause: error });
  });
  if (there) return;
  if (mount.explicit && !create) {
    throw invalid(`invalid mount config for type "bind": bind source path does not exist: ${mount.source}`);
  }
  await mkdir(mount.source, { recursive: true, mode: 0o755 });
}

async function prepareFiles(world: ContainerWorld, id: string): Promise<void> {
  const files = containerFiles(world.paths, id);
  await mkdir(files.directory, { recursive: true, mode: 0o710 });
  // their text is written at every start; they are there for inspect
  for (const path of [files.hosts, files.hostname, files.resolvConf]) writeInPlace(path, '');
}
