package scripts_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"example.com/library/internal/redistest"

	"github.com/google/go-cmp/cmp"
)

var everyByte = flag.Bool("every-byte", false, "cut the append-only file at every byte of every step, not only around its commands (20 minutes)")

// TestAStepIsInTheAppendOnlyFileWholeOrNotAtAll has the machine die while a step is
// being written: the file is cut there, and a server started on it. Then the state is
// the one before the step or the one after it, and neither is hurt by the beginning of
// the step that follows.
//
// A server takes some 20 ms to start. So the usual run cuts only where a command
// begins, just before and just after, and leaves most of the step that follows alone.
func TestAStepIsInTheAppendOnlyFileWholeOrNotAtAll(t *testing.T) {
	onFile := []string{"--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"}
	running, starting := redistest.Start(t, onFile...), redistest.Start(t, onFile...)
	b, after := newBench(t, running.Client(t)), &bench{rdb: starting.Client(t)}
	file, freshFile := appendOnly(running), appendOnly(starting)
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, example := range examples {
		if !*everyByte && name != scriptOf(name) {
			continue // it has the same commands as its script's first example, and fewer
		}
		t.Run(name, func(t *testing.T) {
			write(file, nil)
			b.start(t, state{"requests": given(1)}.with(example.start))
			// A step is what stands in the file up to its end, and what there is then.
			type step struct {
				end  int
				want state
			}
			note := func() step { return step{len(must(os.ReadFile(file))(t)), b.exact(t)} }
			steps := []step{note()}
			reply := must(b.do(t, example.call))(t)
			steps = append(steps, note())
			next := lend(5, by("cy", "r77", "zen"))
			next.terms = nil // they stand
			if scriptOf(name) == "terms" {
				next = next.with(version, reply)
			}
			if scriptOf(name) == "retire" {
				b.put(t, "instance", lock) // without it the next step would be fenced off
				steps = append(steps, note())
			}
			must(b.do(t, next))(t)
			steps = append(steps, note())
			for i := range steps[1:] {
				if cmp.Equal(steps[i].want, steps[i+1].want) {
					t.Fatalf("step %d changes nothing", i+1)
				}
			}
			whole, done, cuts := must(os.ReadFile(file))(t), steps[0], 0
			for cut := done.end; cut <= len(whole); cut++ {
				if i := slices.IndexFunc(steps, func(s step) bool { return cut == s.end }); i >= 0 {
					done = steps[i]
				}
				if !*everyByte && (!nearACommand(whole, cut) || cut > steps[1].end+6 && name != "lend") {
					continue
				}
				cuts++
				starting.Kill(t)
				write(freshFile, whole[:cut])
				starting.Restart(t)
				if diff := cmp.Diff(done.want, after.exact(t)); diff != "" {
					t.Fatalf("cut at byte %d, there is (-want +got):\n%s", cut, diff)
				}
			}
			t.Logf("%d cuts in %d bytes, of which the step has %d", cuts, len(whole)-steps[0].end, steps[1].end-steps[0].end)
		})
	}
}

// nearACommand reports whether a command of an append-only file begins just there, one
// byte later, or six bytes before.
func nearACommand(file []byte, at int) bool {
	for _, away := range []int{0, 1, -6} {
		begins := at + away
		if begins == len(file) || begins > 0 && begins < len(file) && file[begins-1] == '\n' && file[begins] == '*' {
			return true
		}
	}
	return false
}

// appendOnly is the file to which a server appends.
func appendOnly(server *redistest.Server) string {
	return filepath.Join(filepath.Dir(server.Path()), "appendonlydir", "appendonly.aof.1.incr.aof")
}

// exact is the whole state, with when keys end and all that streams know of their
// groups, as far as the append-only file has it.
func (b *bench) exact(t *testing.T) state {
	t.Helper()
	all := b.state(t, span{})
	for key, kind := range b.types(t) {
		all["end of "+key] = must(b.rdb.PExpireTime(t.Context(), key).Result())(t)
		if kind == "stream" {
			all["all of "+key] = kept(must(b.rdb.Do(t.Context(), "XINFO", "STREAM", key, "FULL").Result())(t))
		}
	}
	return all
}

// kept is what XINFO tells, without what Redis does not keep: how the entries lie
// in memory, when a consumer was seen, and how many entries a group has read.
func kept(told any) any {
	switch told := told.(type) {
	case map[any]any:
		some := map[any]any{}
		for name, value := range told {
			if !slices.Contains([]any{"radix-tree-keys", "radix-tree-nodes", "seen-time", "active-time", "entries-read", "lag"}, name) {
				some[name] = kept(value)
			}
		}
		return some
	case []any:
		some := make([]any, len(told))
		for i, value := range told {
			some[i] = kept(value)
		}
		return some
	}
	return told
}
