package cmd_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"

	"github.com/redis/go-redis/v9"
)

// unwritable are runs of all commands that print something, by program. In each ID
// stands for an id of its own, and ENTRY for the id of an entry that was set aside.
var unwritable = map[string][]string{
	"getbooks": {
		"--help", "--version", "help", "help connection", "request --help", "connection", "man-page",
		"completion bash", "completion zsh", "completion fish", "--generate-bash-completion",
		"request user1 ID --id ID", "request user1 ID --id ID -o json", "request user1 ID --id ID --no-wait", "request user1 ID --id ID --no-wait -o json", "request user1 lent --id ID",
		"return user1 ID --id ID", "return user1 ID --id ID -o json", "return user1 ID --id ID --no-wait",
		"card user1", "card user1 -o json", "book lent", "book lent -o json", "receipt given", "receipt given -o json", "explain given", "explain given -o json",
		"watch --since 0", "watch --since 0 -o json",
	},
	"lendingd": {
		"--help", "--version", "help status", "run --help", "connection", "man-page", "completion bash", "completion zsh", "completion fish",
		"status", "status -o json", "terms", "terms -o json", "terms --limit 6", "rejected", "rejected retry ENTRY", "rejected retry ENTRY -o json", "rejected drop ENTRY", "rejected drop ENTRY -o json", "acl", "acl --aclfile",
		"audit", "audit -o json", "audit --json", "rebuild --verify", "rebuild --verify -o json", "top --batch -n 1", "gateway --help", "museum", "museum -o json", "lesson", "run --embedded -a localhost:PORT worker9",
	},
}

// An answer that cannot be written is no success, whatever the command did.
func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	rdb := redistest.Embedded(t)
	env := []string{"LENDING_ADDRESS=" + rdb.Options().Addr}
	worker := programtest.Start(t, env, "lendingd", "worker1")
	if err := worker.Await("serving"); err != nil {
		t.Fatal(err)
	}
	if code, err := programtest.Start(t, env, "getbooks", "request", "user2", "lent", "--id", "given").Wait(); code != 0 || err != nil {
		t.Fatalf("code %d, %v", code, err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("only Linux has a device that is always full")
	}
	defer full.Close()
	gone, broken, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	gone.Close()
	for program, runs := range unwritable {
		offered, err := exec.Command(program, "--generate-bash-completion").Output()
		if err != nil {
			t.Fatal(err)
		}
		for command := range strings.FieldsSeq(string(offered)) {
			if command != "h" && !slices.ContainsFunc(runs, func(run string) bool { return strings.HasPrefix(run, command) }) {
				t.Errorf("%s %s is not tried", program, command)
			}
		}
		for i, run := range runs {
			for where, stdout := range map[string]*os.File{"full": full, "broken": broken} {
				id := strings.Join([]string{"unwritten", program, where, string(rune('a' + i))}, "-")
				entry := ""
				if strings.Contains(run, "ENTRY") {
					if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Requests(), Values: []string{"rubbish", "x"}}).Err(); err != nil {
						t.Fatal(err)
					}
					entry = rejectedEntry(t, env)
				}
				args := strings.Fields(strings.NewReplacer("ID", id, "PORT", fmt.Sprint(freePort(t)), "ENTRY", entry).Replace(run))
				command := exec.Command(program, args...)
				var told strings.Builder
				command.Env = append(os.Environ(), env...)
				command.Stdout, command.Stderr = stdout, &told
				err := command.Run()
				var exit *exec.ExitError
				// That nobody reads an answer any more needs no word, unless it was an order's.
				quiet := where == "broken" && told.String() == ""
				if !errors.As(err, &exit) || exit.ExitCode() != 1 || !quiet && !strings.Contains(told.String(), program+": the answer cannot be written: ") {
					t.Errorf("%s %s, to a %s output: %v, want exit code 1; it said %q", program, run, where, err, told.String())
				}
				if strings.Contains(run, "--id") && !strings.Contains(told.String(), "getbooks receipt "+id) {
					t.Errorf("%s %s, to a %s output, does not tell the id: %q", program, run, where, told.String())
				}
			}
		}
	}
}

// rejectedEntry waits until an entry is set aside, and returns its id.
func rejectedEntry(t *testing.T, env []string) string {
	t.Helper()
	for deadline := time.Now().Add(programtest.Patience); time.Now().Before(deadline); {
		command := exec.Command("lendingd", "rejected")
		command.Env = append(os.Environ(), env...)
		list, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		if id, _, found := strings.Cut(string(list), "  "); found {
			return id
		}
	}
	t.Fatal("nothing is set aside")
	return ""
}
