package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// The bash and zsh scripts ask the program itself. They hand it the words before
// the cursor, and the word under the cursor only where it begins a flag, which is
// how cli tells that flags are wanted. Nothing that was typed is evaluated. A flag
// that awaits its value makes cli offer flags again, so these are left out.
const bashCompletion = `# bash completion for PROGRAM; enable it with: source <(PROGRAM completion bash)
_PROGRAM_complete() {
  local current=${COMP_WORDS[COMP_CWORD]} candidate
  local words=("${COMP_WORDS[@]:1:COMP_CWORD-1}")
  [[ $current == -* ]] && words+=("$current")
  COMPREPLY=()
  while IFS= read -r candidate; do
    [[ $candidate == -* && $current != -* ]] && continue
    [[ $candidate == "$current"* ]] && COMPREPLY+=("$candidate")
  done < <("${COMP_WORDS[0]/#\~/$HOME}" "${words[@]}" --generate-bash-completion 2>/dev/null)
}
complete -o bashdefault -o default -F _PROGRAM_complete PROGRAM
`

const zshCompletion = `#compdef PROGRAM
# zsh completion for PROGRAM; enable it, after compinit, with: source <(PROGRAM completion zsh)
_PROGRAM_complete() {
  local current=${words[CURRENT]}
  local -a before candidates
  before=("${(@Q)words[2,CURRENT-1]}")
  [[ $current == -* ]] && before+=("$current")
  candidates=(${(f)"$("${words[1]/#\~/$HOME}" "${before[@]}" --generate-bash-completion 2>/dev/null)"})
  [[ $current == -* ]] || candidates=(${candidates:#-*})
  compadd -- $candidates || _files
}
compdef _PROGRAM_complete PROGRAM
`

// CompletionCommand is the subcommand that prints the completion script of the
// app, which has that name, for one shell to the app's Writer. It returns a UsageError for a shell it
// does not know. The app needs EnableBashCompletion, whatever the shell.
func CompletionCommand(program string) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that makes the shell complete commands and flags",
		ArgsUsage: "bash|zsh|fish",
		Description: strings.ReplaceAll(`How to enable it:
   source <(PROGRAM completion bash)  in bash
   source <(PROGRAM completion zsh)  in zsh, after compinit
   PROGRAM completion fish | source  in fish`, "PROGRAM", program),
		BashComplete: func(c *cli.Context) {
			if c.NArg() == 0 {
				fmt.Fprintln(c.App.Writer, "bash\nzsh\nfish")
			}
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("completion takes the name of one shell: bash, zsh or fish")
			}
			script, err := completionScript(c.App, c.Args().First())
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(c.App.Writer, script)
			return err
		},
	}
}

func completionScript(app *cli.App, shell string) (string, error) {
	switch shell {
	case "bash":
		return strings.ReplaceAll(bashCompletion, "PROGRAM", app.Name), nil
	case "zsh":
		return strings.ReplaceAll(zshCompletion, "PROGRAM", app.Name), nil
	case "fish":
		return app.ToFishCompletion()
	default:
		return "", usageErrorf("unknown shell %q; bash, zsh and fish are known", shell)
	}
}
