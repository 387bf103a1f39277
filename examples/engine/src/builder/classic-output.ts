/** A build's progress as the classic builder wrote it: one text, `Step 1/4 : FROM …`. */
import { parseDockerfile } from './dockerfile/parser.ts';
import type { BuildOutput, StepOutput } from './output.ts';

/** @param dockerfile - its instructions are what is counted */
export function classicOutput(dockerfile: string, write: (text: string) => void): BuildOutput {
  const { instructions } = parseDockerfile(dockerfile);
  const firstFrom = instructions.findIndex(({ keyword }) => keyword === 'FROM');
  const total = instructions.length - Math.max(firstFrom, 0);
  let number = 0;
  return {
    warn: (text) => write(`[Warning] ${text}\n`),
    begin({ kind, text }): StepOutput {
      if (kind === 'trigger') write(`Trigger: ${text}\n`);
      else if (kind !== 'transfer') {
        number += 1;
        write(`Step ${number}/${total} : ${text}\n`);
      }
      const decoder = new TextDecoder();
      return {
        write: (data) => write(decoder.decode(data, { stream: true })),
        progress: () => undefined,
        say: (line) => write(`${line}\n`),
        cached: () => write(' ---> Using cache\n'),
        made: (chainId) => write(` ---> ${chainId.slice('sha256:'.length, 'sha256:'.length + 12)}\n`),
        end: () => undefined,
      };
    },
  };
}
