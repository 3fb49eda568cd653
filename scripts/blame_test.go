package scripts_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"example.com/library/scripts"
)

func TestALineOfAScriptIsBlamedForItsFirstCommand(t *testing.T) {
	text, err := os.ReadFile("fetch.lua")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	keys := []string{"instance", "fetches", "away", "awaited", "deliveries", "events", "bay"}
	for _, test := range []struct{ line, command, key string }{
		{"  call('XADD', deliveries, '*', 'orders', orders)", "XADD", "deliveries"},
		{"if call('GETRANGE', instance, 0, #token - 1) ~= token then", "GETRANGE", "instance"},
		{"    for _, info in ipairs(call('XINFO', 'GROUPS', fetches)) do", "XINFO GROUPS", "fetches"},
		{"-- Decide.", "", ""},
	} {
		number := slices.Index(lines, test.line) + 1
		if number == 0 {
			t.Errorf("fetch.lua has no line %q any more", test.line)
		}
		for _, script := range []string{string(text), scripts.Fetch.Hash()} {
			if file, command, key := scripts.Blame(script, number, keys); file != "fetch.lua" || command != test.command || key != test.key {
				t.Errorf("Blame of %q = %q, %q, %q, want fetch.lua, %q, %q", test.line, file, command, key, test.command, test.key)
			}
		}
	}
	for _, test := range []struct {
		script string
		line   int
		file   string
	}{{"return 1", 1, ""}, {string(text), 0, "fetch.lua"}, {string(text), 10_000, "fetch.lua"}} {
		if file, command, key := scripts.Blame(test.script, test.line, nil); file != test.file || command != "" || key != "" {
			t.Errorf("Blame of line %d = %q, %q, %q, want %q and no more", test.line, file, command, key, test.file)
		}
	}
}
