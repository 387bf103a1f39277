/** Progress: lines, JSON, and bars that fit. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { renderLayer } from '../../src/cli/progress-bars.ts';
import { Rate, timeLeft } from '../../src/cli/rate.ts';
import { tare } from './drive.ts';
import { machine } from './machine.ts';
import { startPeer } from './peer.ts';

describe('--progress', () => {
  it('json is one object a line and nothing else', async () => {
    await using peer = await startPeer(machine());
    const { stdout } = await tare(peer.host, ['pull', '--progress', 'json', 'busybox:1.37']);
    const messages = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { status: string });
    expect(messages.length).toBeGreaterThan(2);
    expect(messages.at(-1)!.status).toMatch(/^Status: /);
  });

  it('plain is lines, on a terminal too', async () => {
    await using peer = await startPeer(machine());
    const plain = await tare(peer.host, ['pull', '--progress', 'plain', 'busybox:1.37'], { terminal: true });
    const piped = await tare(peer.host, ['pull', 'busybox:1.37']);
    expect(plain.stdout).toBe(piped.stdout);
    expect(plain.stdout).not.toContain('\x1b');
  });

  it('knows no other word', async () => {
    const { code, stderr } = await tare('unix:///nonexistent', ['pull', '--progress', 'loud', 'busybox']);
    expect(code).toBe(125);
    expect(stderr).toContain('must be one of "auto", "plain", "tty", "json" or "quiet"');
  });
});

describe('a bar', () => {
  it('shows amount, rate and the time left', () => {
    const rate = new Rate(0);
    rate.add(10e6, 1000);
    const row = renderLayer('abc', { status: 'Downloading', current: 10e6, total: 40e6, rate }, 100);
    expect(row).toContain('10MB/40MB  10MB/s  3s left');
    expect(row).toMatch(/\[=+> +\]/);
  });

  it('is never wider than the terminal, and never loses its layer', () => {
    const state = fc.record({
      status: fc.constantFrom('Downloading', 'Extracting', 'Waiting', 'Pull complete'),
      current: fc.nat(1e12),
      total: fc.oneof(fc.constant(0), fc.nat(1e12)),
    });
    fc.assert(
      fc.property(state, fc.integer({ min: 15, max: 200 }), fc.nat(1e9), (layer, columns, bytes) => {
        const rate = new Rate(0);
        rate.add(bytes, 1000);
        const row = renderLayer('802a62dedb48', { ...layer, rate }, columns);
        expect(row.length).toBeLessThanOrEqual(columns);
        expect(row.startsWith('802a62dedb48')).toBe(true);
      }),
    );
  });
});

describe('the time left', () => {
  it.each([
    [0.2, '1s'],
    [59, '59s'],
    [60, '1m00s'],
    [3599, '59m59s'],
    [3600, '1h00m'],
    [7500, '2h05m'],
  ])('%d seconds are %s', (seconds, text) => {
    expect(timeLeft(seconds)).toBe(text);
  });

  it('is not known before there is a rate', () => {
    expect(new Rate(0).figures(1, 100)).toEqual([]);
  });
});
