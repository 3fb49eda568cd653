package scripts_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.com/library/redisconn"
	"example.com/library/scripts"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

// A request is a command that a script ran.
type request struct {
	line    int    // the line of the script
	command string // as access rules name it: "hset", "xinfo|groups"
	keys    []string
	channel string // of PUBLISH
}

// callSite is where a script calls Redis. A call whose command is not written out
// would not be found.
var callSite = regexp.MustCompile(`\b(?:redis\.)?call\('`)

// sites are the lines of a script's text on which it calls Redis, one for each call.
func sites(script string) []int {
	var lines []int
	for i, line := range strings.Split(textOf(script), "\n") {
		if !strings.HasPrefix(line, "--") {
			for range callSite.FindAllString(line, -1) {
				lines = append(lines, i+1)
			}
		}
	}
	return lines
}

func textOf(script string) string { return scripts.Text(script + ".lua") }

// spied is a script that does before each of its calls to Redis what the text
// before says in Lua. That finds the place of the call, among those that stand in
// the script, in the variable site, what is called in the three dots, and how many
// calls were made, with this one, in the variable calls.
func spied(script, before string) *redis.Script {
	n := 0
	body := regexp.MustCompile(`(?m)^--.*|`+callSite.String()).ReplaceAllStringFunc(textOf(script), func(found string) string {
		if strings.HasPrefix(found, "--") {
			return found
		}
		n++
		return fmt.Sprintf("spied(%d, '", n)
	})
	return redis.NewScript("local calls = 0 local function spied(site, ...) calls = calls + 1 " + before + " return redis.call(...) end " + body)
}

// made makes an example's call and tells what it ran.
func (b *bench) made(t *testing.T, name string) []request {
	t.Helper()
	example, script := examples[name], scriptOf(name)
	b.start(t, example.start)
	told := example.call
	told.script = spied(script, `redis.call('RPUSH', 'made', site .. '\1' .. table.concat({ ... }, '\1', 1, math.min(3, select('#', ...))))`)
	must(b.do(t, told))(t)
	lines := sites(script)
	var all []request
	for _, text := range must(b.rdb.LRange(t.Context(), "made", 0, -1).Result())(t) {
		words := strings.Split(text, "\x01")
		site := must(strconv.Atoi(words[0]))(t)
		words = words[1:]
		made := request{line: lines[site-1], command: strings.ToLower(words[0])}
		switch words[0] {
		case "TIME":
		case "PUBLISH":
			made.channel = words[1]
		case "XINFO", "XGROUP":
			made.command += "|" + strings.ToLower(words[1])
			made.keys = words[2:]
		case "RENAME":
			made.keys = words[1:]
		default:
			made.keys = words[1:2]
		}
		all = append(all, made)
	}
	b.rung(t, span{})
	return all
}

// TestEveryCallToRedisThatAScriptCanMakeIsMadeByAnExample is why it is enough to try
// the examples where something must hold at every write.
func TestEveryCallToRedisThatAScriptCanMakeIsMadeByAnExample(t *testing.T) {
	onRedis(t, func(t *testing.T, b *bench) {
		left := map[string][]int{}
		for _, h := range headers(t) {
			script := strings.TrimSuffix(h.file, ".lua")
			reached := reachedFrom(t, h.file)
			left[script] = slices.DeleteFunc(sites(script), func(line int) bool {
				of := functionAt(t, h.file, line)
				return of != "" && !reached[of]
			})
		}
		for name := range examples {
			script := scriptOf(name)
			for _, made := range b.made(t, name) {
				left[script] = slices.DeleteFunc(left[script], func(line int) bool { return line == made.line })
			}
		}
		for script, lines := range left {
			for _, line := range lines {
				place := scripts.Locate(textOf(script), line, nil)
				t.Errorf("no example of %s reaches %s:%d: %s", script, place.File, place.Line, strings.Split(textOf(script), "\n")[line-1])
			}
		}
	})
}

// functionAt is the shared function in which a line of a script's text is; empty if it is
// in the script's own part.
func functionAt(t *testing.T, script string, line int) string {
	t.Helper()
	place := scripts.Locate(scripts.Text(script), line, nil)
	if place.File == script {
		return ""
	}
	found := functionLine.FindAllStringSubmatch(strings.Join(strings.Split(source(t, place.File), "\n")[:place.Line], "\n"), -1)
	return found[len(found)-1][1]
}

// TestAPermissionThatIsMissingIsAFaultBeforeAnythingIsWritten takes one permission at
// a time from the Redis user. Redis asks for it only when the script comes to the
// command, and by then others may have been run; so the scripts ask themselves.
func TestAPermissionThatIsMissingIsAFaultBeforeAnythingIsWritten(t *testing.T) {
	onRedis(t, func(t *testing.T, b *bench) {
		options := *b.rdb.Options()
		options.Username, options.Password = "reader", "any"
		reader := redis.NewClient(&options)
		t.Cleanup(func() { reader.Close() })
		// try makes an example's call as a user of these rules.
		try := func(t *testing.T, example example, want result, mustFail bool, rules ...any) {
			t.Helper()
			b.start(t, example.start)
			rules = append([]any{"ACL", "SETUSER", "reader", "reset", "on", "nopass"}, rules...)
			must(b.rdb.Do(t.Context(), rules...).Result())(t)
			before := b.dumps(t)
			from := b.now(t)
			reply, err := example.script.Run(t.Context(), reader, example.keys, example.args...).Result()
			if err != nil {
				if kind := redisconn.KindOf(err); kind != redisconn.Refused {
					t.Errorf("%v: the script answered %v, which is of kind %v, want Refused", rules, err, kind)
				}
				b.wantUntouched(t, before, example.rings)
				return
			}
			if mustFail {
				t.Errorf("%v: the script answered %v, want a fault", rules, reply)
			}
			b.wantResult(t, want, from, reply)
		}
		for name, example := range examples {
			t.Run(name, func(t *testing.T) {
				made := b.made(t, name)
				want := b.result(t, example)
				// all are the keys that the call uses; used, what is run on which.
				all, used := map[string]bool{}, map[string]map[string]bool{}
				for _, m := range made {
					if used[m.command] == nil {
						used[m.command] = map[string]bool{}
					}
					for _, key := range m.keys {
						all[key], used[m.command][key] = true, true
					}
				}
				for command := range used {
					try(t, example, want, true, "~*", "&*", "+@all", "-"+command)
					for key := range used[command] {
						elsewhere := "(+" + command
						for other := range all {
							if other != key {
								elsewhere += " ~" + other
							}
						}
						try(t, example, want, true, "~*", "&*", "+@all", "-"+command, elsewhere+")")
					}
				}
				if used["publish"] != nil {
					try(t, example, want, true, "~*", "+@all", "resetchannels")
				}
				for key := range all {
					for _, part := range []string{"%R~", "%W~"} {
						rules := []any{"&*", "+@all", part + key}
						for other := range all {
							if other != key {
								rules = append(rules, "~"+other)
							}
						}
						// Redis asks for the keys of a script before it runs it.
						try(t, example, want, true, rules...)
						// With this it does not, and asks at each command.
						try(t, example, want, false, append(rules, "(~* +evalsha +eval)")...)
					}
				}
			})
		}
	})
}

// A result is what a call answered, rang and left.
type result struct {
	reply string
	rings []string
	state state
}

// result makes an example's call.
func (b *bench) result(t *testing.T, example example) result {
	t.Helper()
	b.start(t, example.start)
	from := b.now(t)
	reply := must(b.do(t, example.call))(t)
	return b.resultOf(t, from, reply)
}

// resultOf is the result of the call that was made last, after the given time.
func (b *bench) resultOf(t *testing.T, from int64, reply any) result {
	t.Helper()
	during := span{from, b.now(t)}
	// Chance decides in which order books leave front storage.
	return result{during.plain(asJSON(t, reply)), b.rung(t, during), b.state(t, during).sorted("stores", "events")}
}

// wantResult wants the call that was made last to have had the same result.
func (b *bench) wantResult(t *testing.T, want result, from int64, reply any) {
	t.Helper()
	got := b.resultOf(t, from, reply)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{}), cmpopts.EquateEmpty(), cmpopts.EquateApprox(1e-9, 0), alike); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// additions are the commands of the scripts that may need memory.
func (b *bench) additions(t *testing.T) map[string]bool {
	t.Helper()
	adds := map[string]bool{}
	for name, info := range must(b.rdb.Command(t.Context()).Result())(t) {
		adds[name] = slices.Contains(info.Flags, "denyoom")
	}
	maps.DeleteFunc(adds, func(_ string, adds bool) bool { return !adds })
	return adds
}
