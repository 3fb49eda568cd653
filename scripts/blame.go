package scripts

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

var (
	calls    = regexp.MustCompile(`call\('([A-Z]+)'(?:, '([A-Z]+)')?(?:, (\w+))?`)
	keyNames = regexp.MustCompile(`(?m)^local (\w+) = KEYS\[(\d+)\]$`)
)

// Blame tells what a script was about to do in one of its lines: the script's file,
// the first command in the line, and its key, each empty where it cannot be told.
// script is what EVALSHA or EVAL was given, and keys are those it was told of.
func Blame(script string, line int, keys []string) (file, command, key string) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return "", "", ""
	}
	for _, entry := range entries {
		text, err := files.ReadFile(entry.Name())
		if err != nil || script != string(text) && script != redis.NewScript(string(text)).Hash() {
			continue
		}
		lines := strings.Split(string(text), "\n")
		if line < 1 || line > len(lines) {
			return entry.Name(), "", ""
		}
		call := calls.FindStringSubmatch(lines[line-1])
		if call == nil {
			return entry.Name(), "", ""
		}
		for _, declared := range keyNames.FindAllStringSubmatch(string(text), -1) {
			if n, _ := strconv.Atoi(declared[2]); declared[1] == call[3] && n >= 1 && n <= len(keys) {
				key = keys[n-1]
			}
		}
		return entry.Name(), strings.TrimSpace(call[1] + " " + call[2]), key
	}
	return "", "", ""
}
