/** What this process does while a container waits with its namespaces made. */
import { runHooks } from './hooks.ts';
import type { HookRun } from './hooks.ts';
import { joinRdtGroups } from './intel-rdt.ts';
import type { RdtGroups } from './intel-rdt.ts';
import { moveDevices } from './net-devices.ts';
import type { MovedDevices } from './net-devices.ts';
import { hasRuntimeHooks } from './plan/hooks.ts';
import type { HookSubject } from './plan/hooks.ts';
import type { Spec } from './spec/config.ts';

/** Devices, groups of the processor, hooks; disposed, it gives back what it took, unless it is {@link CreateHooks.keep | kept}. */
export class CreateHooks implements AsyncDisposable {
  readonly #run: Omit<HookRun, 'pid'>;
  readonly #rdt: RdtGroups | undefined;
  #devices: MovedDevices | undefined;
  begun = false;

  constructor(spec: Spec, subject: HookSubject, rdt: RdtGroups | undefined, signal: AbortSignal | undefined) {
    this.#run = { spec, subject, status: 'creating', signal };
    this.#rdt = rdt;
  }

  /** The container is made: what it got is its own. */
  keep(): void {
    this.#devices?.keep();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#devices?.[Symbol.asyncDispose]();
  }

  async run(pid: number): Promise<void> {
    const { netDevices = {} } = this.#run.spec.linux ?? {};
    if (this.#rdt) joinRdtGroups(this.#rdt, pid);
    if (Object.keys(netDevices).length > 0) this.#devices = await moveDevices(pid, netDevices);
    if (!hasRuntimeHooks(this.#run.spec)) return;
    this.begun = true;
    await runHooks('prestart', { ...this.#run, pid });
    await runHooks('createRuntime', { ...this.#run, pid });
  }
}
