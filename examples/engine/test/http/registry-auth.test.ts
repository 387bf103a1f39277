import { describe, expect, it } from 'vitest';
import { decodeRegistryAuth } from '../../src/http/registry-auth.ts';

const encode = (value: unknown, alphabet: 'base64' | 'base64url' = 'base64url'): string =>
  Buffer.from(JSON.stringify(value)).toString(alphabet);

describe('decodeRegistryAuth', () => {
  it('reads base64url and, from clients in the wild, base64', () => {
    // the user name makes both alphabets differ
    const value = { username: '>>>???', password: 'p' };
    for (const alphabet of ['base64', 'base64url'] as const) {
      expect(decodeRegistryAuth(encode(value, alphabet))).toEqual({ username: '>>>???', password: 'p' });
    }
    expect(decodeRegistryAuth(`${encode({ username: 'a', password: 'bc' })}==`)).toMatchObject({
      username: 'a',
    });
  });

  it('reads tokens, and the combined form of old files', () => {
    expect(decodeRegistryAuth(encode({ identitytoken: 't' }))).toEqual({ identityToken: 't' });
    expect(decodeRegistryAuth(encode({ registrytoken: 't' }))).toEqual({ registryToken: 't' });
    const auth = Buffer.from('user:pass:word').toString('base64');
    expect(decodeRegistryAuth(encode({ auth }))).toEqual({ username: 'user', password: 'pass:word' });
  });

  it.each([
    undefined,
    '',
    'e30=',
    'bnVsbA==',
    '!!!',
    'AAAA',
    encode([]),
    encode({ username: 7 }),
    encode('x'),
  ])('takes %j for anonymous', (header) => {
    expect(decodeRegistryAuth(header)).toBeUndefined();
  });
});
