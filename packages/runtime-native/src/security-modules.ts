/** Which of the kernel's security modules are on. */
import { existsSync, readFileSync } from 'node:fs';

import type { SecurityModules } from './plan/context.ts';

let found: SecurityModules | undefined;

/** They are chosen when the machine boots, so they are looked up once. */
export function securityModules(): SecurityModules {
  return (found ??= {
    apparmor: read('/sys/module/apparmor/parameters/enabled').startsWith('Y'),
    selinux: existsSync('/sys/fs/selinux/enforce'),
  });
}

function read(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
