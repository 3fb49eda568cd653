package scripts_test

import (
	"regexp"
	"strings"
	"testing"

	"example.com/library/internal/redistest"
)

// Some servers answer a check of a permission only where it has as many arguments as
// the command needs, and fail the script otherwise: Redis from 8.6.2 on, 8.0 and 8.2
// with their security fixes, Valkey from 9 on. All others take any number. So the
// arity that any server tells shows whether a check would hold on those.
func TestEachPermissionCheckIsAWholeCommand(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	check := regexp.MustCompile(`\bneed\(('[A-Z]+'[^()]*)\)`)
	for _, file := range append(scriptFiles(t), sharedFiles(t)...) {
		for _, found := range check.FindAllStringSubmatch(source(t, file), -1) {
			words := strings.Split(found[1], ", ")
			name := strings.ToLower(strings.Trim(words[0], "'"))
			info, err := rdb.Command(t.Context()).Result()
			if err != nil || info[name] == nil {
				t.Fatalf("COMMAND does not tell of %s: %v", name, err)
			}
			arity := int(info[name].Arity) // of the name too; negative where more may follow
			if arity < 0 && len(words) < -arity || arity >= 0 && len(words) != arity {
				t.Errorf("%s: need(%s) has %d words, and the arity of %s is %d", file, found[1], len(words), name, arity)
			}
		}
	}
}
