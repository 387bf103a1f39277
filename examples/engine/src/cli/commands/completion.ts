/** `tare completion`: the scripts that let shells complete our command lines, by asking `tare __complete`. */
import { defineCommand } from '../command.ts';
import { UsageError } from '../errors.ts';

const scripts = {
  // Words are taken from the whole line: bash itself would part them at the colons of image names.
  bash: `# bash completion for tare; load it with: source <(tare completion bash)
_tare() {
  local line current=\${COMP_LINE:0:COMP_POINT} files=
  local -a words=()
  read -ra words <<< "$current"
  [[ $current == *[[:space:]] ]] && words+=("")
  current=\${words[-1]}
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ $line == :files ]]; then files=1; continue; fi
    COMPREPLY+=("\${line%%$'\\t'*}")
  done < <(tare __complete -- "\${words[@]:1}" 2>/dev/null)
  if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
    local prefix=\${current%"\${current##*:}"}
    COMPREPLY=("\${COMPREPLY[@]#"$prefix"}")
  fi
  [[ -n $files ]] && compopt -o default -o bashdefault 2>/dev/null
  return 0
}
complete -F _tare tare
`,
  zsh: `#compdef tare
# zsh completion for tare; load it with: source <(tare completion zsh)
_tare() {
  local line files
  local -a found
  while IFS= read -r line; do
    if [[ $line == :files ]]; then files=1; continue; fi
    found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done < <(tare __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( $#found )) && _describe -V tare found
  [[ -n $files ]] && _files
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _tare "$@"; else compdef _tare tare; fi
`,
  fish: `# fish completion for tare; load it with: tare completion fish | source
function __tare_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (tare __complete -- $words[2..-1] 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c tare -f -a '(__tare_complete)'
`,
};

/** `completion`. */
export const command = defineCommand({
  usage: 'bash|zsh|fish',
  summary: `Print the completion script for a shell

  bash:  source <(tare completion bash)
  zsh:   source <(tare completion zsh)
  fish:  tare completion fish | source

To have it in every shell, write it to where the shell looks:
/etc/bash_completion.d/tare, a folder of zsh's fpath as _tare, or
~/.config/fish/completions/tare.fish`,
  args: { min: 1 },
  flags: {},
  async run({ cli, args: [shell] }) {
    if (!Object.hasOwn(scripts, shell!))
      throw new UsageError(`no completion for ${shell}: use bash, zsh or fish`);
    cli.stdout.write(scripts[shell as keyof typeof scripts]);
  },
});
