import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { decodeJson, encodeJson, int64 } from '../../src/http/json.ts';

const schema = z.object({
  Image: z.string().optional(),
  Memory: int64.optional(),
  Cmd: z.union([z.string(), z.array(z.string())]).optional(),
  HostConfig: z.object({ Binds: z.array(z.string()).optional(), NanoCpus: int64.optional() }).optional(),
  Labels: z.record(z.string(), z.string().nullable()).optional(),
  Mounts: z.array(z.object({ Target: z.string() })).optional(),
});

describe('decodeJson', () => {
  it('matches keys case-insensitively at every depth', () => {
    expect(
      decodeJson('{"image":"x","hostconfig":{"BINDS":["a:b"]},"MOUNTS":[{"target":"/t"}]}', schema),
    ).toEqual({ Image: 'x', HostConfig: { Binds: ['a:b'] }, Mounts: [{ Target: '/t' }] });
  });

  it('leaves the keys of maps alone', () => {
    expect(decodeJson('{"labels":{"Image":"a","image":"b"}}', schema)).toEqual({
      Labels: { Image: 'a', image: 'b' },
    });
  });

  it('takes null for "not given", and keeps it as the value of a map', () => {
    expect(decodeJson('{"Image":null,"HostConfig":null,"Cmd":null,"Labels":{"a":null}}', schema)).toEqual({
      Labels: { a: null },
    });
    expect(decodeJson('null', schema)).toEqual({});
    expect(decodeJson('', schema)).toEqual({});
  });

  it('keeps 64-bit integers exact', () => {
    expect(decodeJson('{"Memory":9223372036854775807}', schema)).toEqual({ Memory: 9223372036854775807n });
    expect(decodeJson('{"Memory":4096}', schema)).toEqual({ Memory: 4096 });
  });

  it('ignores unknown keys and is not fooled by __proto__', () => {
    expect(decodeJson('{"Nope":1,"__proto__":{"Image":"x"},"labels":{"__proto__":"l"}}', schema).Image).toBe(
      undefined,
    );
    expect(({} as { Image?: string }).Image).toBeUndefined();
  });

  it.each([
    ['{"Image":', 'invalid JSON'],
    ['{"Image":"x"} trailing', 'invalid JSON'],
    ['{"Image":1}', 'Image'],
    ['{"hostConfig":{"Binds":[1]}}', 'HostConfig.Binds.0'],
    ['[]', 'invalid JSON'],
    ['"text"', 'invalid JSON'],
    ['{"Memory":1.5}', 'Memory'],
    ['{"HostConfig":[]}', 'HostConfig'],
  ])('refuses %s and says where', (text, part) => {
    expect(() => decodeJson(text, schema)).toThrow(part);
    expect(() => decodeJson(text, schema)).toThrow(expect.objectContaining({ code: 'INVALID' }));
  });

  it('never fails with anything but INVALID, whatever it is given', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          decodeJson(text, schema);
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID' });
        }
      }),
    );
  });
});

describe('encodeJson', () => {
  it('prints 64-bit integers exactly and ends with a newline', () => {
    expect(encodeJson({ timeNano: 1795467399896577721n })).toBe('{"timeNano":1795467399896577721}\n');
  });

  it('escapes no HTML characters, and tells null from []', () => {
    expect(encodeJson({ a: '<&>', b: null, c: [] })).toBe('{"a":"<&>","b":null,"c":[]}\n');
  });

  it('round-trips every bigint', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n }), (value) => {
        const { Memory } = decodeJson(encodeJson({ Memory: value }), schema);
        expect(BigInt(Memory!)).toBe(value);
      }),
    );
  });
});
