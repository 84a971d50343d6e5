/**
 * Completion scripts for shells: static words, made from the command line's own definition.
 */

export type CompletionWord = { readonly word: string; readonly text: string }

/** What may follow a command: `path` is [] for the program, ['secret', 'put'] for a subcommand. */
export type CompletionWords = {
  readonly path: readonly string[]
  readonly words: readonly CompletionWord[]
  readonly options: readonly CompletionWord[]
}

export const COMPLETIONS = { bash, zsh, fish } as const
export type Shell = keyof typeof COMPLETIONS

export function isShell(text: string): text is Shell {
  return Object.hasOwn(COMPLETIONS, text)
}

const wordList = (words: readonly CompletionWord[]): string => words.map(({ word }) => word).join(' ')

function bash(all: readonly CompletionWords[]): string {
  const cases = all.map(
    ({ path, words, options }) =>
      `    '${path.join(' ')}') words='${wordList(words)}' options='${wordList(options)}' ;;`,
  )
  return `# cloakroom completion for bash
_cloakroom() {
  local current=\${COMP_WORDS[COMP_CWORD]} path='' word words='' options=''
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $word == -- ]] && return
    [[ $word == -* ]] || path="\${path:+$path }$word"
  done
  while :; do
    case $path in
${cases.join('\n')}
    *)
      # An argument of a command: its options still apply.
      [[ $path == *' '* ]] || return
      path=\${path% *}
      continue
      ;;
    esac
    break
  done
  if [[ $current == -* ]]; then words=$options; fi
  if [[ -n $words ]]; then COMPREPLY=($(compgen -W "$words" -- "$current")); else COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -o filenames -F _cloakroom cloakroom
`
}

// zsh runs the bash form through its own compatibility layer; descriptions are worth less than one script to keep right.
function zsh(all: readonly CompletionWords[]): string {
  return `#compdef cloakroom
autoload -U +X bashcompinit && bashcompinit
${bash(all)}`
}

function fish(all: readonly CompletionWords[]): string {
  const lines = all.flatMap(({ path, words, options }) => {
    const condition =
      path.length === 0
        ? '__fish_use_subcommand'
        : path.map(word => `__fish_seen_subcommand_from ${word}`).join('; and ')
    return [
      ...words.map(
        ({ word, text }) => `complete -c cloakroom -f -n '${condition}' -a '${word}' -d '${quote(text)}'`,
      ),
      ...options.map(
        ({ word, text }) =>
          `complete -c cloakroom -n '${condition}' -l '${word.slice(2)}' -d '${quote(text)}'`,
      ),
    ]
  })
  return `# cloakroom completion for fish\n${lines.join('\n')}\n`
}

const quote = (text: string): string => text.replace(/['\\]/g, '\\$&')
