import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HttpMethod, Route } from '../../src/http/route.ts';
import { Router } from '../../src/http/router.ts';

const route = (method: HttpMethod, path: string): Route => ({ method, path, handler: () => undefined });
const router = new Router([
  route('GET', '/images/json'),
  route('GET', '/images/search'),
  route('POST', '/images/create'),
  route('GET', '/images/:name*/json'),
  route('GET', '/images/:name*/history'),
  route('POST', '/images/:name*/tag'),
  route('DELETE', '/images/:name*'),
  route('GET', '/distribution/:name*/json'),
  route('GET', '/containers/:id/json'),
  route('DELETE', '/containers/:id'),
]);
const found = (method: string, path: string): [string, string | undefined] | undefined => {
  const match = router.find(method, path);
  return match && [match.route.path, match.params['name'] ?? match.params['id']];
};

describe('Router', () => {
  it('prefers literal paths to image names', () => {
    expect(found('GET', '/images/json')).toEqual(['/images/json', undefined]);
    expect(found('GET', '/images/search')).toEqual(['/images/search', undefined]);
  });

  it('matches image names with raw and with encoded slashes', () => {
    for (const name of ['a/b/c', 'a%2Fb%2Fc', 'a%2fb/c']) {
      expect(found('GET', `/images/${name}/json`)).toEqual(['/images/:name*/json', 'a/b/c']);
      expect(found('DELETE', `/images/${name}`)).toEqual(['/images/:name*', 'a/b/c']);
    }
  });

  it('keeps registry ports, tags and digests in the name', () => {
    expect(found('GET', '/images/127.0.0.1:5000/t/x:1/json')?.[1]).toBe('127.0.0.1:5000/t/x:1');
    expect(found('DELETE', '/images/x@sha256:abc')?.[1]).toBe('x@sha256:abc');
  });

  it('takes a name that looks like a suffix for a name', () => {
    expect(found('DELETE', '/images/json')).toEqual(['/images/:name*', 'json']);
    expect(found('GET', '/images/json/json')).toEqual(['/images/:name*/json', 'json']);
    expect(found('GET', '/images/a/json/history')).toEqual(['/images/:name*/history', 'a/json']);
  });

  it('finds nothing for an unknown path or a wrong method', () => {
    expect(found('GET', '/nope')).toBeUndefined();
    expect(found('PATCH', '/images/json')).toBeUndefined();
    expect(found('POST', '/containers/x/json')).toBeUndefined();
  });

  it('finds nothing for an undecodable path', () => {
    expect(found('GET', '/images/%E0%A4%A/json')).toBeUndefined();
    expect(found('GET', '/containers/%zz/json')).toBeUndefined();
  });

  it('gives back every name, however it was encoded', () => {
    const segment = fc.stringMatching(/^[a-z0-9._-]{1,20}$/).filter((s) => !/^\.+$/.test(s));
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 5 }), fc.boolean(), (segments, encode) => {
        const name = segments.join('/');
        const match = router.find('POST', `/images/${encode ? encodeURIComponent(name) : name}/tag`);
        expect(match?.params['name']).toBe(name);
      }),
    );
  });
});
