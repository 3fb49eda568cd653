package scripts_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An example is a call of a script. That under the script's own name uses all its
// keys; together its examples make every call to Redis that the script can make.
type example struct {
	call
	start state
	// emits is how many events it appends.
	emits int64
	// overlooked says why a value of a wrong type under a key does not matter.
	overlooked map[string]string
	// rings are what it may ring though it fails: receipts that stand.
	rings []string
	// onlyRedis says why the embedded server does less; empty if it does not.
	onlyRedis string
}

const (
	overlookedPage = "EXISTS only asks whether anything is there; a page that is no text lasts until an operator deletes it"
	overlookedEnd  = "PEXPIRETIME only asks when a key ends"
)

var record = entries(entry{"1-0", "event", "before"})

// examples are by the name of their script; the further ones have a colon, and what
// they add, after it.
var examples = begun(map[string]example{
	"lend": {
		call: lend(5, by("ann", "r1", "geb", "alice", "dune").rung("b1"), by("bob", "r2", "geb")),
		start: state{
			"requests": given(2), "loans": hash{"dune": "bob"}, "fetching": hash{"emma": "r0 "}, "front": setOf("alice", "emma"),
			"page": nil, "receipts": hash{"r8": "a receipt"}, "older": hash{"r9": "an older one"}, "fetches": record, "events": record,
			"card:ann": hash{"emma": "20001"}, "card:bob": hash{"dune": "20001"},
		},
		emits:      1,
		overlooked: map[string]string{"page": overlookedPage},
	},
	"return": {
		call: takeBack(1, by("ann", "r1", "geb", "alice").rung("b1"), by("bob", "r2", "dune")),
		start: state{
			"returns": given(2), "loans": hash{"geb": "ann", "alice": "ann", "dune": "bob"}, "fetching": hash{"emma": "r0 "},
			"front": setOf("z", "y"), "demand": weights{"geb": 3, "z": 2}, "faded": weights{"y": 1}, "clock": 3.0, "stores": record, "events": record,
			"page": nil, "receipts": hash{"r8": "a receipt"}, "older": hash{"r9": "an older one"},
			"card:ann": hash{"geb": "20001", "alice": "20001"}, "card:bob": hash{"dune": "20001"},
		},
		emits:      5,
		overlooked: map[string]string{"page": overlookedPage},
	},
	"fetch": {
		call: fetch([]parcel{{"r1", "geb"}}, []parcel{{"r2", "dune"}}, []parcel{{"r3", "emma"}, {"r4", "b"}}),
		start: out("dune", "emma", "z").with(state{
			"fetches": given(3), "awaited": hash{"emma": "r0"}, "deliveries": record, "events": record,
		}),
		emits: 3,
	},
	"store": {
		call: store([]string{"geb"}, []string{"dune"}, []string{"alice", "b"}),
		start: out("geb", "dune", "emma", "b", "z").with(state{
			"stores": given(3), "awaited": hash{"geb": "r1", "emma": "r9"}, "deliveries": record, "events": record,
		}),
		emits: 3,
	},
	"deliver": {
		call: deliver([]parcel{{"r1", "geb"}}, []parcel{{"r2", "dune"}}, []parcel{{"r3", "alice"}, {"r4", "x"}}),
		start: state{
			"deliveries": given(3), "loans": hash{"geb": "ann"}, "fetching": hash{"geb": "r1 b1", "emma": "r9 "}, "front": setOf("alice"),
			"stores": record, "events": record,
		},
		emits: 3,
	},
	"reject": {
		call: reject(refusal{request: "r1", receipt: "a receipt", bell: "bell:b1", fields: []any{".id", "r1"}}),
		start: state{
			"inbox": given(2), "rejected": record, "events": record, "receipts": hash{"r8": "a receipt"}, "older": hash{"r9": "an older one"},
		},
		emits:      1,
		overlooked: map[string]string{"page": overlookedPage},
	},
	"reject: the page is full": {
		call:  reject(refusal{request: "r1", receipt: "a receipt"}),
		start: state{"inbox": given(2), "page": nil, "receipts": hash{"r8": "a receipt"}, "older": hash{"r9": "an older one"}},
		emits: 1,
	},
	"reject: nothing stays pending": {
		call:  reject(refusal{}),
		start: state{"inbox": inbox(3, 2), "rejected": record, "events": record},
		emits: 1,
	},
	"claim": {
		call: claim("1-0", "2-0"),
		start: state{
			"inbox":    stream{Entries: filled(2, 2), Read: "2-0", Pending: map[string][]string{"worker2": {"1-0", "2-0"}}},
			"rejected": record, "events": record,
		},
		emits:     1,
		onlyRedis: "the embedded server does not show pending entries that were trimmed away",
	},
	"retire": {
		call:  retire(),
		start: state{"instance": nil, "inbox": handled(2)},
	},
	"retry": {
		call: retry("r1"),
		start: state{
			"inbox": given(1), "rejected": entries(setAside("2-0", "2-0", reason, ".id", "r1")), "events": record,
			"receipts": hash{"r8": "a receipt"}, "older": hash{"r1": `{"outcome":"rejected"}`, "r9": "an older one"},
		},
		emits: 1,
	},
	"drop": {
		call:  drop(),
		start: state{"rejected": entries(setAside("2-0", "2-0", reason, ".id", "r1")), "events": record},
		emits: 1,
	},
	"prolong": {
		call:       prolong(),
		start:      state{"receipts": passing{hash{"r8": "a receipt"}, 1}, "older": passing{hash{"r9": "an older one"}, 1}},
		overlooked: map[string]string{"receipts": overlookedEnd, "older": overlookedEnd},
	},

	"shed": {
		call:  shed(1, 5),
		start: state{"inbox": waiting(4, 1), "events": record},
		emits: 1,
	},
	"shed: the log": {
		call:  shed(5, 1),
		start: state{"inbox": waiting(2, 1), "events": entries(entry{"1-0", "event", "before"}, entry{"2-0", "event", "before"})},
		emits: -1,
	},
	"terms": {
		call:  setTerms(version, "loans_max", "6"),
		start: state{"noted": hash{"loans_max": "5", "since_ms": "1"}, "events": record},
		emits: 1,
	},

	"lend: a book of her own, and an entry stays pending": {
		call: lend(5, by("ann", "r1", "geb", "emma").rung("b1")),
		start: state{
			"requests": given(2), "loans": hash{"emma": "ann"}, "card:ann": hash{"emma": "20001"}, "fetches": record, "events": record,
			"receipts": hash{"r8": "a receipt"},
		},
		emits: 1,
	},
	"lend: repeats": {
		call:  lend(5, by("ann", "r8", "geb").rung("b1"), by("ann", "r9", "geb")),
		start: state{"requests": given(2), "receipts": hash{"r8": "a receipt"}, "older": hash{"r9": "an older one"}},
		rings: []string{"bell:b1 a receipt"},
	},
	"return: notes fade, and an entry stays pending": {
		call: takeBack(1, by("ann", "r1", "geb", "alice")).with(demandMax, 1),
		start: state{
			"returns": given(2), "loans": hash{"geb": "ann", "alice": "ann"}, "card:ann": hash{"geb": "20001", "alice": "20001"},
			"demand": weights{"geb": 3, "z": 2}, "faded": weights{"y": 1}, "clock": 3.0, "stores": record, "events": record,
		},
		emits: 2,
	},
	"fetch: an entry stays pending": {
		call:  fetch([]parcel{{"r1", "geb"}}),
		start: state{"fetches": given(2), "events": record},
		emits: 1,
	},
	"fetch: set apart": {
		call:  fetch([]parcel{{"r1", "geb"}, {"r2", "geb"}}),
		start: out("geb").with(state{"fetches": given(1), "awaited": hash{"geb": "r0"}}),
	},
	"store: an entry stays pending": {
		call:  store([]string{"geb"}),
		start: out("geb").with(state{"stores": given(2), "events": record}),
		emits: 1,
	},
	"store: set apart": {
		call:  store([]string{"geb", "dune"}),
		start: state{"stores": given(1)},
	},
	"deliver: an entry stays pending": {
		call:  deliver([]parcel{{"r1", "geb"}}),
		start: state{"deliveries": given(2), "loans": hash{"geb": "ann"}, "fetching": hash{"geb": "r1 b1"}},
		emits: 1,
	},
	"deliver: set apart": {
		call:  deliver([]parcel{{"r1", "geb"}, {"r2", "geb"}}),
		start: state{"deliveries": given(1), "front": setOf("geb")},
	},
	"lend: a void receipt": {
		call:  lend(5, by("ann", "r1", "geb")),
		start: state{"requests": given(1), "receipts": hash{"r1": rubbish("r1")}, "older": hash{"r1": rubbish("r1"), "r9": "an older one"}},
		emits: 1,
	},
	"return: a void receipt": {
		call:  takeBack(1, by("ann", "r1", "geb")),
		start: state{"returns": given(1), "receipts": hash{"r1": rubbish("r1")}, "older": hash{"r9": "an older one"}},
		emits: 1,
	},
	"lend: it stood alone": {
		call:  lend(5, by("ann", "r1", "geb")),
		start: state{"requests": given(1)},
		emits: 1,
	},
	"return: it stood alone": {
		call:  takeBack(1, by("ann", "r1", "geb")),
		start: state{"returns": given(1), "loans": hash{"geb": "ann"}, "card:ann": hash{"geb": "20001"}},
		emits: 1,
	},
	"fetch: it stood alone": {
		call:  fetch([]parcel{{"r1", "geb"}}),
		start: state{"fetches": given(1)},
		emits: 1,
	},
	"store: it stood alone": {
		call:  store([]string{"geb"}),
		start: out("geb").with(state{"stores": given(1)}),
		emits: 1,
	},
	"deliver: it stood alone": {
		call:  deliver([]parcel{{"r1", "geb"}}),
		start: state{"deliveries": given(1), "loans": hash{"geb": "ann"}, "fetching": hash{"geb": "r1 b1"}},
		emits: 1,
	},
	"prolong: only the older page is left": {
		call:  prolong(),
		start: state{"older": passing{hash{"r9": "an older one"}, 1}},
	},
})

// begun are examples of libraries that have the terms of their calls from the beginning.
func begun(examples map[string]example) map[string]example {
	for name, example := range examples {
		if example.terms != nil {
			example.start, example.terms = example.start.with(state{"terms": example.terms}), nil
			examples[name] = example
		}
	}
	return examples
}

// scriptOf is the name of an example's script.
func scriptOf(example string) string {
	name, _, _ := strings.Cut(example, ":")
	return name
}

// with is the call with another value in place of one of its arguments.
func (c call) with(old, new any) call {
	c.args = slices.Clone(c.args)
	for i, arg := range c.args {
		if arg == old {
			c.args[i] = new
		}
	}
	return c
}

// unfenced are the scripts that need no lock of their caller.
var unfenced = map[string]bool{"retire": true, "retry": true, "drop": true, "prolong": true, "terms": true}

// TestEveryScriptHasAnExampleThatFitsItsHeader holds the examples, and by them the
// keys that all tests use, against what the headers say of keys and their types.
func TestEveryScriptHasAnExampleThatFitsItsHeader(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for _, h := range headers(t) {
			name := strings.TrimSuffix(h.file, ".lua")
			t.Run(name, func(t *testing.T) {
				example, ok := examples[name]
				if !ok {
					t.Fatal("it has none")
				}
				b.start(t, example.start)
				before := must(b.rdb.XLen(t.Context(), "events").Result())(t)
				types := b.types(t)
				must(b.do(t, example.call))(t)
				maps.Copy(types, b.types(t))
				for i, key := range h.keys {
					if got := example.keys[i]; got != key.name {
						t.Errorf("KEYS[%s] is %s in the example, want %s", key.number, got, key.name)
					}
					if kind, ok := types[key.name]; ok && kind != strings.ToLower(key.kind) {
						t.Errorf("%s is a %s, but the header calls it a %s", key.name, kind, key.kind)
					}
				}
				for _, key := range example.keys[len(h.keys):] {
					if types[key] != strings.ToLower(h.rest) {
						t.Errorf("%s is a %s, but the header calls it a %s", key, types[key], h.rest)
					}
				}
				if b.embedded && example.onlyRedis != "" {
					t.Skip(example.onlyRedis)
				}
				if got := must(b.rdb.XLen(t.Context(), "events").Result())(t) - before; got != example.emits {
					t.Errorf("it emits %d events, want %d", got, example.emits)
				}
			})
		}
	})
}

func TestAnInstanceThatLostItsNameIsFencedOffAndNothingIsWritten(t *testing.T) {
	locks := map[string]any{
		"the lock is gone":               nil,
		"another process holds the lock": expiring{"token2 {}", 1},
		"another's token begins alike":   expiring{secret[:len(secret)-1], 1},
	}
	onBoth(t, func(t *testing.T, b *bench) {
		for name, example := range examples {
			if unfenced[scriptOf(name)] {
				continue
			}
			for what, lock := range locks {
				t.Run(name+": "+what, func(t *testing.T) {
					b.start(t, example.start.with(state{"instance": lock}))
					before := b.state(t, span{})
					_, err := b.do(t, example.call)
					if err == nil || !strings.HasPrefix(err.Error(), "FENCED ") {
						t.Errorf("the script answered %v, want FENCED", err)
					}
					if diff := cmp.Diff(before, b.state(t, span{})); diff != "" {
						t.Errorf("state (-before +after):\n%s", diff)
					}
					if rings := b.rung(t, span{}); len(rings) > 0 {
						t.Errorf("rung: %q", rings)
					}
				})
			}
		}
	})
}

// TestAValueOfAWrongTypeIsAFaultBeforeAnythingIsWritten puts such a value under
// each key of each script. Redis keeps what a script wrote before it failed, so
// all must be noticed before the first write.
func TestAValueOfAWrongTypeIsAFaultBeforeAnythingIsWritten(t *testing.T) {
	texts := map[string]bool{} // the keys that hold a text
	for _, h := range headers(t) {
		for _, key := range h.keys {
			texts[key.name] = key.kind == "STRING"
		}
	}
	onRedis(t, func(t *testing.T, b *bench) {
		for name, example := range examples {
			example.overlooked = examples[scriptOf(name)].overlooked
			made := b.made(t, name)
			for _, key := range example.keys {
				used := slices.ContainsFunc(made, func(m request) bool { return slices.Contains(m.keys, key) })
				if !used && scriptOf(name) != name {
					continue // a further example need not use all keys
				} else if !used && example.overlooked[key] == "" {
					t.Errorf("the example of %s has no use for %s", name, key)
				}
				t.Run(name+": "+key, func(t *testing.T) {
					b.start(t, example.start)
					var wrong any = "a text"
					if texts[key] {
						wrong = hash{"of": "no matter"}
					}
					b.put(t, key, wrong)
					b.wantFault(t, example, key, "WRONGTYPE ")
				})
			}
		}
	})
}

// TestAnInboxThatVanishedIsAFaultBeforeAnythingIsWritten wants the code by which an
// instance tells that it must make the group anew. The embedded server has words of
// its own before a code that comes from within a script.
func TestAnInboxThatVanishedIsAFaultBeforeAnythingIsWritten(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		for name, example := range examples {
			for key, value := range example.start {
				if s, ok := value.(stream); !ok || s.Read == "" || scriptOf(name) == "retry" {
					continue // it is no inbox, or retry.lua makes it anew
				}
				t.Run(name, func(t *testing.T) {
					b.start(t, example.start.with(state{key: nil}))
					before := b.state(t, span{})
					reply, err := b.do(t, example.call)
					if err == nil || !strings.HasPrefix(err.Error(), "NOGROUP ") && !(b.embedded && strings.Contains(err.Error(), " NOGROUP ")) {
						t.Errorf("the script answered %v, %v; want NOGROUP", reply, err)
					}
					if diff := cmp.Diff(before, b.state(t, span{})); diff != "" {
						t.Errorf("state (-before +after):\n%s", diff)
					}
				})
			}
		}
	})
}

func TestATextThatIsNoNumberIsAFaultBeforeAnythingIsWritten(t *testing.T) {
	onRedis(t, func(t *testing.T, b *bench) {
		for name, key := range map[string]string{"return": "clock", "fetch": "away", "store": "away"} {
			t.Run(name+": "+key, func(t *testing.T) {
				b.start(t, examples[name].start.with(state{key: "half past four"}))
				b.wantFault(t, examples[name], key, "")
			})
		}
	})
}

// wantFault makes an example's call and wants an error, with every key as it was;
// or none, if the example overlooks what is wrong with the key.
func (b *bench) wantFault(t *testing.T, example example, key, code string) {
	t.Helper()
	before := b.dumps(t)
	reply, err := b.do(t, example.call)
	if why, ok := example.overlooked[key]; ok {
		if err != nil {
			t.Errorf("the script answered %v, want no fault: %s", err, why)
		}
		return
	}
	if err == nil {
		t.Errorf("the script answered %v, want %s", reply, code)
	} else if !strings.HasPrefix(err.Error(), code) {
		t.Errorf("the script answered %v, want %s", err, code)
	}
	b.wantUntouched(t, before, example.rings)
}

// wantUntouched wants all keys to be as they were, and nothing to have been rung but
// what may be.
func (b *bench) wantUntouched(t *testing.T, before state, rings []string) {
	t.Helper()
	after := b.dumps(t)
	for key := range before.with(after) {
		if before[key] != after[key] {
			t.Errorf("the script failed and changed %s", key)
		}
	}
	for _, rung := range b.rung(t, span{}) {
		if !slices.Contains(rings, rung) {
			t.Errorf("the script failed and rang %q", rung)
		}
	}
}

// dumps are all keys to the last byte, and when they end.
func (b *bench) dumps(t *testing.T) state {
	t.Helper()
	dumps := state{}
	for key := range b.types(t) {
		ends := must(b.rdb.PExpireTime(t.Context(), key).Result())(t)
		dumps[key] = fmt.Sprint(ends, must(b.rdb.Dump(t.Context(), key).Result())(t))
	}
	return dumps
}
