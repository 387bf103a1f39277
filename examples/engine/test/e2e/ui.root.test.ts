/** `tare ui` in a browser, beside a daemon with something to see. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startBrowser } from '../../../../test/lab/browser.ts';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { missingForEndToEnd, startLab, tareCommand, type Lab } from './lab.ts';

const missing =
  missingForEndToEnd() ??
  (componentPath(COMPONENTS.browser) === undefined ? 'needs chromium-headless-shell' : undefined);
/** A folder for pictures of every tab, for people to look at. */
const pictures = process.env.TARE_TEST_PICTURES;

describe.skipIf(missing !== undefined)(`tare ui${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let ui: ChildProcess;
  let browser: Browser;
  let page: Page;
  const requests: string[] = [];
  const errors: string[] = [];

  beforeAll(async () => {
    lab = await startLab();
    await lab.ok(['network', 'create', '--subnet', '10.78.0.0/24', 'shop']);
    const busy = 'echo "hello from the log"; while :; do :; done';
    await lab.ok([
      'run',
      '-d',
      '--name',
      'web',
      '--network',
      'shop',
      '-v',
      'items:/data',
      '--cpus',
      '0.2',
      lab.busybox,
      'sh',
      '-c',
      busy,
    ]);
    await lab.ok(['network', 'connect', 'bridge', 'web']);
    await lab.docker(['run', '--name', 'ended', lab.busybox, 'sh', '-c', 'exit 3']);
    ui = spawn(process.execPath, [...tareCommand(), '-H', lab.host, 'ui'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [address] = (await once(ui.stdout!, 'data')) as [Buffer];
    browser = await startBrowser();
    page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
    page.on('request', (request) => requests.push(request.url()));
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('console', (message) => void (message.type() === 'error' && errors.push(message.text())));
    await page.goto(address.toString().trim());
  });
  afterAll(async () => {
    await browser?.close();
    if (ui && ui.exitCode === null) {
      ui.kill('SIGTERM');
      expect(await once(ui, 'exit')).toEqual([0, null]);
    }
    await lab?.[Symbol.asyncDispose]();
  });

  async function open(tab: string): Promise<void> {
    await page.getByRole('button', { name: tab, exact: true }).click();
  }
  async function picture(name: string): Promise<void> {
    if (!pictures) return;
    await mkdir(pictures, { recursive: true });
    await page.screenshot({ path: join(pictures, `${name}.png`) });
  }

  test('shows containers with plots that live, and their logs', async () => {
    const web = page.locator('[data-container=web]');
    await web
      .getByText('hello from the log')
      .or(web.getByRole('button', { name: 'Logs' }))
      .first()
      .waitFor();
    await web.getByRole('button', { name: 'Logs' }).click();
    await web.locator('.log').getByText('hello from the log').waitFor();
    // it uses a fifth of a processor
    const cpu = web.locator('.plot').first().locator('b');
    await expect
      .poll(async () => Number.parseFloat((await cpu.textContent()) ?? ''), { timeout: 20_000 })
      .toBeGreaterThan(5);
    expect(await web.locator('canvas').count()).toBe(2);
    await page.locator('[data-container=ended]').getByText('Exited (3)').waitFor();
    await page.waitForTimeout(pictures ? 12_000 : 0);
    await picture('containers');
  });

  test('shows images and their layers', async () => {
    await open('Images');
    await page.getByText(`${lab.registry}configured`).click();
    await page.locator('.layers li').nth(1).waitFor();
    expect(await page.locator('.layers li').count()).toBe(2);
    await picture('images');
  });

  test('draws networks and who is attached to them', async () => {
    await open('Networks');
    await page.locator('.graph .network', { hasText: '10.78.0.0/24' }).waitFor();
    await expect.poll(() => page.locator('.graph .edge').count()).toBe(3);
    expect(await page.locator('.graph .address').allTextContents()).toContain('10.78.0.2');
    await picture('networks');
  });

  test('shows volumes and who uses them', async () => {
    await open('Volumes');
    await page.getByRole('row', { name: /items.*web/ }).waitFor();
    await picture('volumes');
  });

  test('shows Jobs on a timeline', async () => {
    await open('Jobs');
    await page.locator('.job', { hasText: 'container.start' }).first().waitFor();
    expect(await page.locator('.job .bar.succeeded').count()).toBeGreaterThan(3);
    await picture('jobs');
  });

  test('hears events as they happen, and looks again', async () => {
    await open('Events');
    await lab.ok(['run', '-d', '--name', 'late', lab.busybox, 'sleep', '100']);
    await page.getByRole('row', { name: /container start late/ }).waitFor();
    await picture('events');
    await open('Containers');
    await page.locator('[data-container=late]').waitFor();
    await lab.ok(['rm', '-f', 'late']);
    await page.locator('[data-container=late]').waitFor({ state: 'detached' });
  });

  test('asks nobody but its own server, and has no errors', () => {
    const origins = new Set(requests.map((url) => new URL(url).origin));
    expect([...origins]).toEqual([new URL(page.url()).origin]);
    expect(errors).toEqual([]);
  });
});
