import { describe, expect, it } from 'vitest';
import { appArmorProfile, type AppArmorFacts } from '../../src/containers/apparmor.ts';
import { parseSecurityOptions } from '../../src/containers/security.ts';

const kernel = (...profiles: string[]): AppArmorFacts => ({
  enabled: true,
  loaded: (name) => profiles.includes(name),
});

describe('the AppArmor profile', () => {
  it.for<[wanted: string | undefined, privileged: boolean, profiles: string[], profile: string | undefined]>([
    [undefined, false, ['docker-default'], 'docker-default'],
    [undefined, false, [], undefined],
    [undefined, true, ['docker-default'], undefined],
    ['unconfined', false, ['docker-default'], undefined],
    ['own', false, ['own'], 'own'],
    ['own', true, ['own'], 'own'],
  ])('of %j, privileged %j, with %j loaded, is %j', ([wanted, privileged, profiles, profile]) => {
    expect(appArmorProfile(wanted, privileged, kernel(...profiles))).toBe(profile);
  });

  it('that is not loaded is refused, and left aside without AppArmor', () => {
    expect(() => appArmorProfile('own', false, kernel())).toThrow('AppArmor profile own is not loaded');
    expect(appArmorProfile('own', false, { enabled: false, loaded: () => false })).toBeUndefined();
  });

  it('is what the security options name', () => {
    expect(parseSecurityOptions(['apparmor=own']).apparmor).toBe('own');
    expect(parseSecurityOptions(['apparmor:own']).apparmor).toBe('own');
    expect(parseSecurityOptions([]).apparmor).toBeUndefined();
  });
});
