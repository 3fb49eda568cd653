package scripts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/redistest"
	"example.com/library/redisconn"
)

// TestAServerThatTakesNoWritesIsAFaultThatPassesAndChangesNothing has the server
// refuse writes for each reason it knows. When the reason is gone, the same call
// does all that it should have done.
func TestAServerThatTakesNoWritesIsAFaultThatPassesAndChangesNothing(t *testing.T) {
	server := redistest.Start(t, "--dbfilename", "dump.rdb")
	b := newBench(t, server.Client(t))
	set := func(t *testing.T, name, value string) {
		t.Helper()
		must(b.rdb.ConfigSet(t.Context(), name, value).Result())(t)
	}
	// A directory in the place of the file makes a snapshot fail, even for root.
	snapshot := filepath.Join(filepath.Dir(server.Path()), "dump.rdb")
	save := func(t *testing.T, want string) {
		t.Helper()
		must(b.rdb.BgSave(t.Context()).Result())(t)
		b.await(t, "persistence", "rdb_bgsave_in_progress:0", "rdb_last_bgsave_status:"+want)
	}
	refusals := []struct {
		code          string
		begin, passed func(t *testing.T)
		// allows are the calls that the server takes all the same.
		allows func(example string, adds bool) bool
	}{
		{
			code:   "OOM",
			begin:  func(t *testing.T) { set(t, "maxmemory", "1") },
			passed: func(t *testing.T) { set(t, "maxmemory", "0") },
			// What adds nothing is done: it may be what makes room. So is claim.lua, which must
			// move an entry before it knows whether there is anything to add.
			allows: func(example string, adds bool) bool { return !adds || example == "claim" },
		},
		{
			code: "READONLY",
			// Of a master that does not answer, a replica keeps what it has.
			begin: func(t *testing.T) {
				must(b.rdb.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Result())(t)
			},
			passed: func(t *testing.T) { must(b.rdb.Do(t.Context(), "REPLICAOF", "NO", "ONE").Result())(t) },
		},
		{
			code: "MISCONF",
			begin: func(t *testing.T) {
				set(t, "save", "3600 1000000")
				if err := os.Mkdir(snapshot, 0o700); err != nil {
					t.Fatal(err)
				}
				save(t, "err")
			},
			passed: func(t *testing.T) {
				if err := os.Remove(snapshot); err != nil {
					t.Fatal(err)
				}
				save(t, "ok")
				set(t, "save", "")
				if err := os.Remove(snapshot); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			code:   "NOREPLICAS",
			begin:  func(t *testing.T) { set(t, "min-replicas-to-write", "1") },
			passed: func(t *testing.T) { set(t, "min-replicas-to-write", "0") },
		},
	}
	needsMemory, isWrite := b.additions(t), b.writes(t)
	for name, example := range examples {
		// Redis asks for memory before the first write only.
		made := b.made(t, name)
		first := slices.IndexFunc(made, func(m request) bool { return isWrite[strings.Split(m.command, "|")[0]] })
		adds := first >= 0 && needsMemory[made[first].command]
		want := b.result(t, example)
		for _, refusal := range refusals {
			t.Run(refusal.code+" "+name, func(t *testing.T) {
				b.start(t, example.start)
				before := b.dumps(t)
				refusal.begin(t)
				from := b.now(t)
				reply, err := b.do(t, example.call)
				if refusal.allows != nil && refusal.allows(name, adds) {
					if err != nil {
						t.Errorf("the script answered %v, want no fault", err)
					}
					b.wantResult(t, want, from, reply)
					refusal.passed(t)
					return
				}
				if err == nil || !strings.HasPrefix(err.Error(), refusal.code+" ") {
					t.Errorf("the script answered %v, %v; want %s", reply, err, refusal.code)
				} else if kind := redisconn.KindOf(err); kind != redisconn.Passing {
					t.Errorf("%v is of kind %v, want Passing", err, kind)
				}
				b.wantUntouched(t, before, example.rings)
				refusal.passed(t)
				from = b.now(t)
				b.wantResult(t, want, from, must(b.do(t, example.call))(t))
			})
		}
	}
}

// writes are the commands that write.
func (b *bench) writes(t *testing.T) map[string]bool {
	t.Helper()
	isWrite := map[string]bool{}
	for name, info := range must(b.rdb.Command(t.Context()).Result())(t) {
		isWrite[name] = slices.Contains(info.Flags, "write")
	}
	return isWrite
}

// What is there must be finished though the memory is full, or nothing ever frees any.
func TestAFullServerFinishesWhatItIsToldRegardless(t *testing.T) {
	onRedis(t, func(t *testing.T, b *bench) {
		for name, example := range examples {
			t.Run(name, func(t *testing.T) {
				want := b.result(t, example)
				b.start(t, example.start)
				must(b.rdb.ConfigSet(t.Context(), "maxmemory", "1").Result())(t)
				from := b.now(t)
				reply := must(example.script.Run(t.Context(), redisconn.Regardless(b.rdb), example.keys, example.args...).Result())(t)
				must(b.rdb.ConfigSet(t.Context(), "maxmemory", "0").Result())(t)
				b.wantResult(t, want, from, reply)
			})
		}
	})
}

// await waits until the server's own account of a subject has all these lines.
func (b *bench) await(t *testing.T, subject string, lines ...string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		info, missing := must(b.rdb.Info(t.Context(), subject).Result())(t), ""
		for _, line := range lines {
			if !strings.Contains(info, line+"\r\n") {
				missing = line
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s in vain; the server says:\n%s", missing, info)
		}
	}
}

// TestAServerThatFillsUpWhileAScriptRunsDoesNotStopItHalfWay fills the memory just
// before each call that a script makes after its first write. Redis looks at the
// memory when a script begins, so all of them go on.
func TestAServerThatFillsUpWhileAScriptRunsDoesNotStopItHalfWay(t *testing.T) {
	const filling, room = 8 << 20, 4 << 20
	onRedis(t, func(t *testing.T, b *bench) {
		isWrite := b.writes(t)
		for name, example := range examples {
			made := b.made(t, name)
			want := b.result(t, example)
			first := 0
			for first < len(made) && !isWrite[strings.Split(made[first].command, "|")[0]] {
				first++
			}
			for n := first + 1; n < len(made); n++ {
				t.Run(fmt.Sprintf("%s: before call %d, %s", name, n+1, made[n].command), func(t *testing.T) {
					b.start(t, example.start)
					full := example.call
					full.script = spied(scriptOf(name), fmt.Sprintf(
						`if calls == %d then redis.call('SETRANGE', 'filling', %d, '.') end`, n+1, filling))
					b.wantFilled(t, full, want, filling, room)
				})
			}
		}
	})
}

// wantFilled makes a call during which the memory becomes full, and wants it to have
// the result that it has with room to spare.
func (b *bench) wantFilled(t *testing.T, full call, want result, filling, room int64) {
	t.Helper()
	var used int64
	_, after, _ := strings.Cut(must(b.rdb.Info(t.Context(), "memory").Result())(t), "used_memory:")
	if _, err := fmt.Sscan(after, &used); err != nil {
		t.Fatal(err)
	}
	must(b.rdb.ConfigSet(t.Context(), "maxmemory", fmt.Sprint(used+room)).Result())(t)
	from := b.now(t)
	reply := must(b.do(t, full))(t)
	if err := b.rdb.Set(t.Context(), "more", "of it", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "OOM ") {
		t.Errorf("after the call the server answered %v, want it to be full", err)
	}
	if got := must(b.rdb.StrLen(t.Context(), "filling").Result())(t); got != filling+1 {
		t.Errorf("the memory was filled with %d bytes, want %d", got, filling+1)
	}
	must(b.rdb.Del(t.Context(), "filling").Result())(t)
	must(b.rdb.ConfigSet(t.Context(), "maxmemory", "0").Result())(t)
	b.wantResult(t, want, from, reply)
}
