/** Node.js 24's stacks of what is to be released, and those that stand in for them on 22: alike in all that we ask of them. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const MODULE = join(import.meta.dirname, '..', 'tools', 'disposable-stacks.mjs');
/** Tells what a stack does with all that can be done to it. */
const STORY = `
const { DisposableStack: Sync, AsyncDisposableStack: Async } = await import(${JSON.stringify(MODULE)});
const told = [];
const say = (...words) => told.push(words.join(' '));
const told_of = (error) => error?.suppressed === undefined ? String(error?.message ?? error)
  : error.name + '(' + told_of(error.error) + ', ' + told_of(error.suppressed) + ')';
const attempt = async (what, action) => {
  try { say(what, typeof (await action())); } catch (error) { say(what, 'threw', error.name === 'Error' || error.suppressed ? told_of(error) : error.name); }
};
for (const [Stack, symbol, end] of [[Sync, Symbol.dispose, 'dispose'], [Async, Symbol.asyncDispose, 'disposeAsync']]) {
  const stack = new Stack();
  const thing = { [symbol]() { say('thing', this === thing); } };
  say(stack.use(thing) === thing, stack.use(null), stack.use(undefined), stack.adopt(7, (seven) => say('adopted', seven)));
  stack.use({ [Symbol.dispose]() { say('by the other symbol'); } });
  stack.defer(() => say('deferred'));
  await attempt('use of nothing', () => stack.use({}));
  await attempt('no function', () => stack.defer(1));
  const moved = stack.move();
  say(stack.disposed, moved.disposed, moved instanceof Stack);
  await attempt('after the move', () => stack.defer(() => {}));
  await attempt('nothing left', () => stack[end]());
  await attempt('end', () => moved[end]());
  await attempt('again', () => moved[symbol]());
  await attempt('use when disposed', () => moved.use(null));
  const failing = new Stack();
  for (const name of ['a', 'b', 'c']) failing.defer(() => { say(name); throw new Error(name); });
  await attempt('failing', () => failing[end]());
  const waits = new Stack();
  if (Stack === Async) {
    waits.defer(async () => { await null; say('second'); });
    waits.defer(async () => { await null; say('first'); });
    await attempt('waits', () => waits[end]());
  }
}
console.log(told.join('\\n'));
`;

function tell(prelude: string): string {
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', prelude + STORY], {
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  return stdout;
}

test('what stands in for the stacks does as they do', () => {
  const native = tell('');
  const own = tell(
    'for (const name of ["DisposableStack", "AsyncDisposableStack", "SuppressedError"]) delete globalThis[name];',
  );
  expect(native).toContain('failing threw SuppressedError(');
  expect(own).toBe(native);
});
