/**
 * Real components from Debian, for tests and measurements: packages are downloaded and unpacked into a cache folder of
 * the checkout. Nothing is installed, configured or started on the machine.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const CACHE = join(import.meta.dirname, '..', '..', '.cache', 'debian');

/** A program from a Debian package: where it lies, or why it cannot be had and what that costs. */
export interface Component {
  /** Name on the PATH or in the cache, for example `docker-registry`. */
  name: string;
  package: string;
  /** Path inside the package. */
  path: string;
  /** Release of Debian it is from, when it is not that of this machine. */
  suite?: string;
  /** Packages that it needs besides, fetched with it. */
  needs?: readonly string[];
  /** Whether everything that it depends on, and that this machine has not, is fetched with it. */
  withDependencies?: boolean;
  /** What is not tested without it. */
  costs: string;
}

export const COMPONENTS = {
  registry: {
    name: 'docker-registry',
    package: 'docker-registry',
    path: 'usr/bin/docker-registry',
    costs: 'pull and push against the reference registry, and every end-to-end test',
  },
  busybox: {
    name: 'busybox',
    package: 'busybox-static',
    path: 'bin/busybox',
    costs: 'containers with a shell: runtime isolation and limits, and every end-to-end test',
  },
  docker: {
    name: 'docker',
    package: 'docker.io',
    path: 'usr/bin/docker',
    costs: 'the end-to-end tests with the stock docker CLI',
  },
  compose: {
    name: 'docker-compose',
    package: 'docker-compose',
    // the one of bookworm is the old program in Python
    suite: 'trixie',
    path: 'usr/libexec/docker/cli-plugins/docker-compose',
    costs: 'the end-to-end test with docker compose',
  },
  buildx: {
    name: 'docker-buildx',
    package: 'docker-buildx',
    suite: 'trixie',
    path: 'usr/libexec/docker/cli-plugins/docker-buildx',
    costs: 'the end-to-end tests with docker buildx',
  },
  dockerPy: {
    name: 'docker-py',
    package: 'python3-docker',
    path: 'usr/lib/python3/dist-packages/docker/__init__.py',
    needs: [
      'python3-requests',
      'python3-urllib3',
      'python3-websocket',
      'python3-packaging',
      'python3-idna',
      'python3-chardet',
      'python3-certifi',
      'python3-six',
    ],
    costs: 'the end-to-end test with docker-py',
  },
  browser: {
    name: 'chromium-headless-shell',
    package: 'chromium-headless-shell',
    path: 'usr/lib/chromium/chromium-headless-shell',
    // has data files that it looks for beside itself; see browser.ts
    needs: ['chromium-common'],
    withDependencies: true,
    costs: 'the dashboard in a browser',
  },
  runc: {
    name: 'runc',
    package: 'runc',
    path: 'usr/sbin/runc',
    needs: ['libseccomp2'],
    costs: 'the comparison of the oci-runtime command with runc',
  },
  crun: {
    name: 'crun',
    package: 'crun',
    path: 'usr/bin/crun',
    needs: ['libyajl2', 'libseccomp2', 'libcap2'],
    costs: 'the comparison of the oci-runtime command with crun',
  },
  dockerd: {
    name: 'dockerd',
    package: 'docker.io',
    path: 'usr/sbin/dockerd',
    needs: ['containerd', 'libdevmapper1.02.1'],
    costs: 'the oci-runtime command as a runtime of dockerd',
  },
  cniPlugins: {
    name: 'bridge',
    package: 'containernetworking-plugins',
    path: 'usr/lib/cni/bridge',
    costs: 'CNI plugins behind the interface of network drivers',
  },
  runtimeSpec: {
    name: 'config-schema.json',
    package: 'golang-github-opencontainers-specs-dev',
    path: 'usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/config-schema.json',
    costs: 'the comparison of our schemas with those of the runtime specification',
  },
  skopeo: {
    name: 'skopeo',
    package: 'skopeo',
    path: 'usr/bin/skopeo',
    needs: ['libgpgme11', 'libdevmapper1.02.1', 'libassuan0', 'libgpg-error0'],
    costs: 'the exchange of images with skopeo, in layouts, archives and registries',
  },
  umoci: {
    name: 'umoci',
    package: 'umoci',
    path: 'usr/bin/umoci',
    costs: 'the exchange of image layouts with umoci',
  },
  zsh: {
    name: 'zsh',
    package: 'zsh',
    path: 'bin/zsh',
    needs: ['zsh-common'],
    costs: 'completion in zsh',
  },
  fish: {
    name: 'fish',
    package: 'fish',
    path: 'usr/bin/fish',
    needs: ['fish-common', 'libpcre2-32-0'],
    costs: 'completion in fish',
  },
  imageSpec: {
    name: 'config_test.go',
    package: 'golang-github-opencontainers-image-spec-dev',
    path: 'usr/share/gocode/src/github.com/opencontainers/image-spec/schema/config_test.go',
    costs: 'the comparison of our validation with the tests of the image specification',
  },
  distribution: {
    name: 'normalize_test.go',
    package: 'golang-github-docker-distribution-dev',
    path: 'usr/share/gocode/src/github.com/docker/distribution/reference/normalize_test.go',
    costs: 'the comparison of our references with the tests of the distribution project',
  },
} as const satisfies Record<string, Component>;

/** The component's path if it is there, else undefined. Of Docker's two the machine's own come first: they are newer. */
export function componentPath(component: Component): string | undefined {
  const folders = (process.env.PATH ?? '').split(':');
  const ofMachine = folders
    .map((folder) => join(folder, component.name))
    .find((path) => ['docker', 'dockerd'].includes(component.name) && existsSync(path));
  const cached = join(CACHE, component.package, component.path);
  return ofMachine ?? (existsSync(cached) ? cached : undefined);
}

/** The folders of a component's packages, its own first. */
export function componentFolders({ package: own, needs = [] }: Component): string[] {
  return [own, ...needs].map((name) => join(CACHE, name));
}

function dependenciesFile(component: Component): string {
  return join(CACHE, `${component.package}.dependencies`);
}

/** The folders of what was fetched with a component that has `withDependencies`. */
export async function dependencyFolders(component: Component): Promise<string[]> {
  const names = JSON.parse(await readFile(dependenciesFile(component), 'utf8')) as string[];
  return names.map((name) => join(CACHE, name));
}

/**
 * Fetches what is missing through apt-get. Returns the components that cannot be had, each with the reason.
 * Two processes may do this at once: a package appears in the cache whole, by rename.
 */
export async function fetchComponents(): Promise<{ component: Component; reason: string }[]> {
  const missing: { component: Component; reason: string }[] = [];
  let listsUpdated = false;
  for (const component of Object.values(COMPONENTS)) {
    if (componentPath(component) !== undefined) continue;
    try {
      const { suite } = component as Component;
      if (suite !== undefined) {
        await fetchFromSuite(component.package, suite);
        continue;
      }
      const { needs = [], withDependencies } = component as Component;
      if (withDependencies) {
        const names = (await packagesToInstall(component.package)).filter(
          (name) => name !== component.package,
        );
        for (const name of names) await packageFolder(name);
        await writeFile(dependenciesFile(component), JSON.stringify(names));
      }
      // itself last: it is there when all is
      for (const name of [...needs, component.package]) {
        if (existsSync(join(CACHE, name))) continue;
        await fetchPackage(name).catch(async (error: unknown) => {
          if (listsUpdated) throw error;
          listsUpdated = true;
          // a bare machine has no package lists yet
          await run('apt-get', ['update', '-qq']);
          await fetchPackage(name);
        });
      }
    } catch (error) {
      missing.push({ component, reason: error instanceof Error ? error.message.trim() : String(error) });
    }
  }
  return missing;
}

/**
 * The folder a package's files lie in, fetched when they are not there yet: for peers of measurements.
 *
 * @throws when apt-get cannot have it
 */
export async function packageFolder(name: string): Promise<string> {
  const folder = join(CACHE, name);
  if (!existsSync(folder)) await fetchPackage(name);
  return folder;
}

/**
 * What installing a package would bring to this machine: itself and the dependencies that are not here; nothing when it is
 * installed.
 *
 * @throws when apt-get does not know it
 */
export async function packagesToInstall(name: string): Promise<string[]> {
  const { stdout } = await run('apt-get', ['install', '--no-install-recommends', '--simulate', '-qq', name]);
  return [...stdout.matchAll(/^Inst (\S+)/gm)].map(([, found]) => found!);
}

/** The packages and all that they depend on, as on a machine that has none yet. @throws when apt-get does not know one */
export async function packageClosure(names: readonly string[]): Promise<string[]> {
  const nothing = 'Dir::State::status=/dev/null';
  const flags = ['install', '--no-install-recommends', '--simulate', '-qq', '-o', nothing];
  const { stdout } = await run('apt-get', [...flags, ...names]);
  const found = [...stdout.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name!);
  return [...new Set(found)].sort();
}

/** The first package that `name`, which may be empty itself, depends on. @throws when apt-cache does not know it */
export async function firstDependency(name: string): Promise<string> {
  const { stdout } = await run('apt-cache', ['depends', '--important', name]);
  const found = /^ {2}Depends: (\S+)/m.exec(stdout)?.[1];
  if (found === undefined) throw new Error(`the package ${name} is not known to apt-cache`);
  return found;
}

async function fetchPackage(name: string, options: readonly string[] = []): Promise<void> {
  await mkdir(CACHE, { recursive: true });
  const work = await mkdtemp(join(CACHE, '.fetch-'));
  try {
    // as root apt would drop to its own user, who cannot write here
    const asRoot = ['-o', 'APT::Sandbox::User=root'];
    await run('apt-get', ['download', '-qq', ...asRoot, ...options, name], { cwd: work });
    const archive = (await readdir(work)).find((file) => file.endsWith('.deb'));
    if (archive === undefined) throw new Error(`apt-get download ${name} left no .deb file`);
    await run('dpkg-deb', ['-x', join(work, archive), join(work, 'root')]);
    await rename(join(work, 'root'), join(CACHE, name)).catch((error: NodeJS.ErrnoException) => {
      // another process was faster: its copy is as good
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Where this machine has Debian's own packages from. */
async function debianMirror(): Promise<string> {
  const format = '$(ORIGIN) $(COMPONENT) $(REPO_URI)';
  const { stdout } = await run('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']);
  const mirror = /^Debian main (\S+)$/m.exec(stdout)?.[1];
  if (mirror === undefined) throw new Error('apt has no lists of Debian: apt-get update gets them');
  return mirror;
}

/** Fetches from another release, with package lists of its own: those of the machine stay as they are. */
async function fetchFromSuite(name: string, suite: string): Promise<void> {
  const apt = await mkdtemp(join(tmpdir(), 'apt-'));
  try {
    for (const directory of ['lists/partial', 'cache/archives/partial']) {
      await mkdir(join(apt, directory), { recursive: true });
    }
    const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
    const source = `deb [signed-by=${keyring}] ${await debianMirror()} ${suite} main\n`;
    await writeFile(join(apt, 'sources.list'), source);
    const settings = {
      'Dir::Etc::sourcelist': join(apt, 'sources.list'),
      'Dir::Etc::sourceparts': '/dev/null',
      'Dir::State::lists': join(apt, 'lists'),
      'Dir::Cache': join(apt, 'cache'),
      'APT::Sandbox::User': 'root',
    };
    const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
    await run('apt-get', ['update', '-qq', ...options]);
    await fetchPackage(name, options);
  } finally {
    await rm(apt, { recursive: true, force: true });
  }
}
