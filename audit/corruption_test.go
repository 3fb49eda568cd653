package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"

	"example.com/library/audit"
	"example.com/library/internal/redistest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
)

// A corruption is something wrong that was done to the furnished library by hand,
// and what an audit must say of it.
type corruption struct {
	name string
	// do are commands; a word that begins with @ is a key of the library, and ENTRY(inbox,
	// word) the id of the last entry in a stream that mentions a word. A ~ is a space.
	do   []string
	want []found
	// onlyRedis says why the embedded server cannot show it; empty if it can.
	onlyRedis string
}

// found is a finding: where it is, whom it is about, the event that should explain it
// as its kind and a name in it (if it was deleted, after that word), and a part of what the finding says. A key is written
// without {main}.
type found struct{ kind, key, book, user, request, event, says string }

func (d *desk) corrupt(commands []string) {
	d.Helper()
	for _, command := range commands {
		var args []any
		for _, word := range strings.Split(command, " ") {
			switch {
			case strings.HasPrefix(word, "@"):
				word = d.keys.Key(word[1:])
			case strings.HasPrefix(word, "ENTRY("):
				inbox, mentioned, _ := strings.Cut(strings.TrimSuffix(word[6:], ")"), ",")
				word = ""
				for _, message := range d.rdb.XRange(d.ctx, d.keys.Key(inbox), "-", "+").Val() {
					if strings.Contains(fmt.Sprint(message.Values), mentioned) {
						word = message.ID
					}
				}
				if word == "" {
					d.Fatalf("no entry in %s mentions %s", inbox, mentioned)
				}
			}
			args = append(args, strings.ReplaceAll(word, "~", " "))
		}
		reply, err := d.rdb.Do(d.ctx, args...).Result()
		if err != nil && err != redis.Nil || reply == int64(0) && args[0] != "HSET" {
			d.Fatalf("%s: %v, %v", command, reply, err)
		}
	}
}

func TestEachCorruptionIsToldExactly(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		for _, c := range corruptions {
			t.Run(c.name, func(t *testing.T) {
				if c.onlyRedis != "" && strings.Contains(t.Name(), "/embedded/") {
					t.Skip(c.onlyRedis)
				}
				if err := rdb.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				d := newDesk(t, rdb, names).furnish()
				events := map[string]string{"": ""}
				for _, f := range c.want {
					if kind, word, deleted := strings.Cut(strings.TrimPrefix(f.event, "deleted "), " "); deleted && strings.HasPrefix(f.event, "deleted ") {
						events[f.event] = d.event(kind, word)
					}
				}
				d.corrupt(c.do)
				findings := d.check(audit.Config{}).Findings
				var want []audit.Finding
				for _, f := range c.want {
					event, known := events[f.event]
					if kind, word, _ := strings.Cut(f.event, " "); !known {
						event = d.event(kind, word)
					}
					if f.event != "" && event == "" {
						t.Errorf("the log has no event %s", f.event)
					}
					want = append(want, audit.Finding{Kind: f.kind, Key: key(f.key), Book: f.book, User: f.user, Request: f.request, Event: event})
				}
				if diff := cmp.Diff(want, findings, cmpopts.IgnoreFields(audit.Finding{}, "Problem"), cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("findings (-want +got):\n%s", diff)
				}
				for i, f := range c.want {
					if f.says == "" || !strings.Contains(findings[i].Problem, f.says) {
						t.Errorf("it says %q, and not %q", findings[i].Problem, f.says)
					}
					if text := findings[i].String(); strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }) {
						t.Errorf("it would disturb a terminal: %q", text)
					}
				}
			})
		}
	})
}
