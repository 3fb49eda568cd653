package scripts_test

import (
	"slices"
	"strings"
	"testing"

	"example.com/library/scripts"

	"github.com/redis/go-redis/v9"
)

func TestALineOfAScriptIsLocatedWithItsFirstCommand(t *testing.T) {
	text := scripts.Text("fetch.lua")
	lines := strings.Split(text, "\n")
	keys := []string{"instance", "fetches", "away", "awaited", "deliveries", "events", "bay"}
	for _, test := range []struct{ line, file, command, key string }{
		{"  call('XADD', deliveries, '*', 'orders', orders)", "fetch.lua", "XADD", "deliveries"},
		{"-- Decide. out and expected have what an earlier book of this batch has changed.", "fetch.lua", "", ""},
		{"  if not string.match(call('GET', away) or '0', '^%-?%d+$') then", "shared/shelves.lua", "GET", "away"},
		{"  for _, info in ipairs(call('XINFO', 'GROUPS', inbox)) do", "shared/step.lua", "XINFO GROUPS", ""},
	} {
		number := slices.Index(lines, test.line) + 1
		if number == 0 {
			t.Errorf("fetch.lua has no line %q any more", test.line)
			continue
		}
		want := scripts.Place{Script: "fetch.lua", File: test.file, Command: test.command, Key: test.key}
		want.Line = slices.Index(strings.Split(source(t, test.file), "\n"), test.line) + 1
		for _, script := range []string{text, scripts.Fetch.Hash()} {
			if got := scripts.Locate(script, number, keys); got != want {
				t.Errorf("Locate of %q = %+v, want %+v", test.line, got, want)
			}
		}
		for _, script := range []string{scripts.Regardless + text, redis.NewScript(scripts.Regardless + text).Hash()} {
			if got := scripts.Locate(script, number+1, keys); got != want {
				t.Errorf("Locate of %q under one more line = %+v, want %+v", test.line, got, want)
			}
		}
	}
	for _, test := range []struct {
		text string
		line int
		want scripts.Place
	}{{"return 1", 1, scripts.Place{}}, {text, 0, scripts.Place{Script: "fetch.lua"}}, {text, 10_000, scripts.Place{Script: "fetch.lua"}}} {
		if got := scripts.Locate(test.text, test.line, nil); got != test.want {
			t.Errorf("Locate of line %d = %+v, want %+v", test.line, got, test.want)
		}
	}
}

func TestEveryLineOfAScriptIsLocatedInItsFile(t *testing.T) {
	for _, h := range headers(t) {
		text := scripts.Text(h.file)
		for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			place := scripts.Locate(text, i+1, nil)
			if place.Script != h.file || place.File == "" {
				t.Fatalf("Locate of line %d of %s = %+v", i+1, h.file, place)
			}
			if got := strings.Split(source(t, place.File), "\n")[place.Line-1]; got != line {
				t.Fatalf("line %d of %s is %q, but line %d of %s is %q", i+1, h.file, line, place.Line, place.File, got)
			}
		}
	}
}
