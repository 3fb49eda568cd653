package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// programVariable makes this test binary behave as the program it names, so
// that a shell has a real program to complete.
const programVariable = "CLI_TEST_PROGRAM"

func init() {
	program := os.Getenv(programVariable)
	if program == "" {
		return
	}
	var got received
	app := newApp(program, &got)
	app.EnableBashCompletion = true
	app.Writer = os.Stdout
	arranged, err := Arrange(app, os.Args)
	if err == nil {
		err = app.Run(arranged)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if got.Command != "" {
		fmt.Println("the action ran") // A shell would offer this as a candidate.
	}
	os.Exit(0)
}

// completer puts the program into a new folder, and returns a function that
// runs a script in the shell, with the program and the words as arguments, and
// returns the lines it prints, sorted.
func completer(t *testing.T, shell, program string) func(script string, words ...string) []string {
	t.Helper()
	shellPath, err := exec.LookPath(shell)
	if err != nil {
		t.Skipf("%s is not installed", shell)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Symlink(self, filepath.Join(folder, program)); err != nil {
		t.Fatal(err)
	}
	return func(script string, words ...string) []string {
		t.Helper()
		args := []string{"-c", script}
		if shell != "fish" {
			args = append(args, shell) // Becomes $0.
		}
		command := exec.Command(shellPath, append(args, words...)...)
		command.Dir = folder // Without files that the shell might offer, but for the program.
		command.Env = append(os.Environ(), programVariable+"="+program, "PATH="+folder+":"+os.Getenv("PATH"),
			"GORACE=atexit_sleep_ms=0") // Or under -race every exit would take a second.
		var stderr strings.Builder
		command.Stderr = &stderr
		output, err := command.Output()
		if err != nil || stderr.String() != "" {
			t.Fatalf("%s: %v\n%s", shell, err, stderr.String())
		}
		lines := strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
		if _, err := os.Lstat(filepath.Join(folder, "evil")); err == nil {
			t.Error("the shell evaluated what was typed")
		}
		slices.Sort(lines)
		return slices.DeleteFunc(lines, func(line string) bool { return line == "" })
	}
}

// completions are what a shell should offer; the last word of typed is the one
// under the cursor.
var completions = []struct {
	name    string
	program string
	typed   []string
	want    []string
}{
	{"a command", "getbooks", []string{"req"}, []string{"request"}},
	{"every command", "getbooks", []string{""}, []string{"ask", "card", "completion", "h", "help", "request"}},
	{"a flag", "getbooks", []string{"request", "--no"}, []string{"--no-wait"}},
	{"a flag after names", "getbooks", []string{"request", "user1", "geb", "--no"}, []string{"--no-wait"}},
	{"a flag after a flag", "getbooks", []string{"request", "--library", "main", "--no"}, []string{"--no-wait"}},
	{"a flag of a command that a flag stands before", "getbooks", []string{"-a", "x", "request", "--no"}, []string{"--no-wait"}},
	{"a command after a flag", "getbooks", []string{"-a", "x", "req"}, []string{"request"}},
	{"every flag", "getbooks", []string{"card", "--"}, []string{"--address", "--help", "--library", "--password"}},
	{"a name, which cannot be known", "getbooks", []string{"request", ""}, []string{}},
	{"a value, which cannot be known", "getbooks", []string{"request", "-a", ""}, []string{}},
	{"a name after --, which does not run the command", "getbooks", []string{"request", "user1", "--", ""}, []string{}},
	{"a flag after a value with a space", "getbooks", []string{"-a", "x y", "request", "--no"}, []string{"--no-wait"}},
	{"a flag after what must not be evaluated", "getbooks", []string{"-a", "$(touch evil) `touch evil`", "request", "--no"}, []string{"--no-wait"}},
	{"a shell", "getbooks", []string{"completion", ""}, []string{"bash", "fish", "zsh"}},
	{"a flag of a root action", "lendingd", []string{"worker1", "--fo"}, []string{"--force"}},
	{"a nested command", "lendingd", []string{"rejected", "re"}, []string{"retry"}},
	{"a nested flag", "lendingd", []string{"rejected", "retry", "--al"}, []string{"--all"}},
}

func TestBashCompletes(t *testing.T) {
	const script = `
		program=$1; shift
		source <("$program" completion bash)
		COMP_WORDS=("$program" "$@") COMP_CWORD=$#
		"_${program}_complete"
		printf '%s\n' "${COMPREPLY[@]}"`
	for _, test := range completions {
		t.Run(test.name, func(t *testing.T) {
			got := completer(t, "bash", test.program)(script, append([]string{test.program}, test.typed...)...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("offered (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBashRegistersTheFunction(t *testing.T) {
	got := completer(t, "bash", "getbooks")(`source <(getbooks completion bash); complete -p getbooks`)
	want := []string{"complete -o bashdefault -o default -F _getbooks_complete getbooks"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("registered (-want +got):\n%s", diff)
	}
}

// TestZshCompletes is skipped where there is no zsh. The completion system does
// not run in a script, so its two functions that ours uses are replaced.
func TestZshCompletes(t *testing.T) {
	const script = `
		compdef() { registered=$1 }
		compadd() { shift; print -rl -- ${(M)@:#${(b)words[CURRENT]}*} }
		program=$1; shift
		source <("$program" completion zsh)
		words=("$program" "${(@q)@[1,-2]}" "${@[-1]}") CURRENT=$(($# + 1))
		$registered`
	for _, test := range completions {
		t.Run(test.name, func(t *testing.T) {
			got := completer(t, "zsh", test.program)(script, append([]string{test.program}, test.typed...)...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("offered (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFishCompletes is skipped where there is no fish. Its script is cli's own
// and static, so only what matters most is asked.
func TestFishCompletes(t *testing.T) {
	tests := []struct {
		program string
		typed   string
		want    []string
	}{
		{"getbooks", "getbooks req", []string{"request"}},
		{"getbooks", "getbooks request user1 --no", []string{"--no-wait"}},
		{"lendingd", "lendingd worker1 --fo", []string{"--force"}},
		{"lendingd", "lendingd rejected re", []string{"retry"}},
	}
	for _, test := range tests {
		t.Run(test.typed, func(t *testing.T) {
			got := completer(t, "fish", test.program)(`$argv[1] completion fish | source; complete -C $argv[2]`, test.program, test.typed)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("offered (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryScriptNamesItsProgram runs no shell, and so does not prove that the
// zsh and fish scripts work; the tests above do where these shells are.
func TestEveryScriptNamesItsProgram(t *testing.T) {
	tests := []struct{ shell, want string }{
		{"bash", "\ncomplete -o bashdefault -o default -F _getbooks_complete getbooks\n"},
		{"zsh", "\ncompdef _getbooks_complete getbooks\n"},
		{"fish", "\ncomplete -r -c getbooks -n '__fish_getbooks_no_subcommand' -a 'request ask'\n"},
	}
	for _, test := range tests {
		t.Run(test.shell, func(t *testing.T) {
			app := newGetbooks(new(received))
			var printed strings.Builder
			app.Writer = &printed
			if err := app.Run([]string{"getbooks", "completion", test.shell}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(printed.String(), test.want) {
				t.Errorf("printed %s\nwant it to contain %q", printed.String(), test.want)
			}
			if strings.Contains(printed.String(), "PROGRAM") {
				t.Errorf("a PROGRAM was not replaced in %s", printed.String())
			}
		})
	}
}

func TestCompletionRefusesWhatIsNotOneKnownShell(t *testing.T) {
	tests := []struct {
		names []string
		want  string
	}{
		{nil, "completion takes the name of one shell: bash, zsh or fish"},
		{[]string{"bash", "zsh"}, "completion takes the name of one shell: bash, zsh or fish"},
		{[]string{"power\x1bshell"}, `unknown shell "power\x1bshell"; bash, zsh and fish are known`},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.names, " "), func(t *testing.T) {
			app := newGetbooks(new(received))
			app.Writer = io.Discard
			err := app.Run(append([]string{"getbooks", "completion"}, test.names...))
			if usage := (UsageError{}); !errors.As(err, &usage) {
				t.Fatalf("got error %v, want a UsageError", err)
			}
			if err.Error() != test.want {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
		})
	}
}
