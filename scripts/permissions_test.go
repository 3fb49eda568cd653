package scripts_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/library/internal/redistest"

	"github.com/redis/go-redis/v9"
)

// Some servers answer a check of a permission only where it has as many arguments as
// the command needs, and fail the script otherwise: Redis from 8.6.2 on, 8.0 and 8.2
// with their security fixes, Valkey from 9 on. All others take any number. So the
// arity that any server tells shows whether a check would hold on those.
func TestEachPermissionCheckIsAWholeCommand(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	check, readable := regexp.MustCompile(`\bneed\([^.]`), regexp.MustCompile(`\bneed\(('[A-Z]+'[^()]*)\)`)
	for _, file := range append(scriptFiles(t), sharedFiles(t)...) {
		text := source(t, file)
		found := readable.FindAllStringSubmatch(text, -1)
		if all := len(check.FindAllString(text, -1)); len(found) != all {
			t.Errorf("%s: %d of %d checks begin with a command in quotes and hold no call; this test can read no others", file, len(found), all)
		}
		for _, arguments := range found {
			words := strings.Split(arguments[1], ", ")
			arity := arityOf(t, rdb, words) // of the name too; negative where more may follow
			if arity < 0 && len(words) < -arity || arity >= 0 && len(words) != arity {
				t.Errorf("%s: need(%s) has %d words, and the arity of the command is %d", file, arguments[1], len(words), arity)
			}
		}
	}
}

// arityOf is the arity of a command, or of its subcommand if it has any.
func arityOf(t *testing.T, rdb *redis.Client, words []string) int {
	t.Helper()
	name := strings.ToLower(strings.Trim(words[0], "'"))
	asked := []any{"COMMAND", "INFO", name}
	if len(words) > 1 {
		asked = append(asked, name+"|"+strings.ToLower(strings.Trim(words[1], "'")))
	}
	told, err := rdb.Do(t.Context(), asked...).Slice()
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range slices.Backward(told) {
		if facts, ok := command.([]any); ok && len(facts) > 1 {
			return int(facts[1].(int64))
		}
	}
	t.Fatalf("COMMAND does not tell of %s", name)
	return 0
}
