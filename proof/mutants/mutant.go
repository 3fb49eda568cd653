package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A mutant is the library with one guarantee broken.
type mutant struct {
	name   string // a word for the command line
	broken string // what is broken, for the table
	edits  []edit
}

// An edit replaces a text in a file. The text must be there, and once: a mutant
// that no longer fits its project would show nothing.
type edit struct{ file, old, new string }

func (e edit) apply(dir string) error {
	path := filepath.Join(dir, e.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), e.old); n != 1 {
		return fmt.Errorf("%s has this %d times, want once; the mutant must be adapted:\n%s", e.file, n, e.old)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o644)
}

const (
	isRepeat    = "  if standing[n] or answers[request] then\n"
	runDecide   = "			replies, err = script.Run(ctx, redisconn.Regardless(s.config.Redis), keys, append(head, args...)...).StringSlice()\n"
	acknowledge = `		acknowledged := make([]string, len(orders))
		for i, order := range orders {
			acknowledged[i] = order.entry.ID
		}
		if err := s.config.Redis.XAck(ctx, keys[1], library.Lending, acknowledged...).Err(); err != nil {
			return err
		}
`
)

// mutants are the guarantees that are broken.
var mutants = []mutant{
	{"repeats", "no check for repeats", []edit{
		{"scripts/lend.lua", isRepeat, "  if false then\n"},
		{"scripts/return.lua", isRepeat, "  if false then\n"},
	}},
	{"outside", "acknowledged outside the script, after it", []edit{
		{"scripts/lend.lua", "done(requests, group, ids)\n", "done(requests, group, { unpack(ids, #ids + 1) })\n"},
		{"scripts/return.lua", "done(returns, group, ids)\n", "done(returns, group, { unpack(ids, #ids + 1) })\n"},
		{"lending/service.go", runDecide, runDecide + "		if err != nil {\n			return err\n		}\n" + acknowledge},
	}},
	{"first", "acknowledged first, then decided", []edit{
		{"lending/service.go", runDecide, acknowledge + runDecide},
	}},
	{"dollar", "a group begins at `$`, not at 0", []edit{
		{"worker/stream.go", `XGroupCreateMkStream(ctx, stream, group, "0")`, `XGroupCreateMkStream(ctx, stream, group, "$")`},
	}},
	{"takeover", "nobody takes over what a dead instance left", []edit{
		{"worker/sweep.go", "		err := c.takeOver(ctx, other.Name)\n", "		var err error\n		if me {\n			err = c.takeOver(ctx, other.Name)\n		}\n"},
	}},
	{"page", "a take-over stops at the first page", []edit{
		{"worker/sweep.go", "				return err\n			}\n		}\n	}\n	return nil\n}\n\n// left are", "				return err\n			}\n		}\n		break\n	}\n	return nil\n}\n\n// left are"},
	}},
	{"removal", "a dead instance is removed from its group, whatever is pending for it", []edit{
		{"scripts/retire.lua", "if #redis.call('XPENDING', inbox, group, '-', '+', '1', name) > 0 then return 'pending' end\n", ""},
		{"worker/sweep.go", "		err := c.takeOver(ctx, other.Name)\n", "		var err error\n		if me {\n			err = c.takeOver(ctx, other.Name)\n		}\n"},
	}},
	{"stops", "an instance that is told to stop leaves what it has in hand counted as delivered", []edit{
		{"worker/sweep.go", "	_, _ = c.note(ctx, batch, -1)\n", "	_, _ = c.note(ctx, batch, 0)\n"},
	}},
	{"together", "an entry that ended an instance is tried again beside others", []edit{
		{"worker/entry.go", "return e.Deliveries > 1 }", "return e.Deliveries > 100 }"},
	}},
	{"dropped", "the log does not tell that an entry was dropped", []edit{
		{"scripts/drop.lua", "call('XADD', events, '*', 'event', 'dropped', 'stream', told.stream or '', 'entry', told.entry or '', 'rejected', id)\n", ""},
	}},
	{"fence", "no fence", []edit{
		{"scripts/shared/step.lua", "  if call('GETRANGE', instance, '0', #token - 1) ~= token then\n", "  if not (instance and token) then\n"},
	}},
	{"maxlen", "`MAXLEN` on an inbox", []edit{
		{"lending/appends.go", "redis.XAddArgs{Stream: stream, Values: values}", "redis.XAddArgs{Stream: stream, MaxLen: 3, Values: values}"},
	}},
	{"retries", "the Redis client repeats commands by itself", []edit{
		{"redisconn/connect.go", "	config.MaxRetries = -1\n", "	config.MaxRetries = 3\n"},
	}},
	{"write", "a script writes before its last check", []edit{
		{"scripts/fetch.lua", "call('XLEN', deliveries) -- a key of the wrong type must fault before the first write\n", ""},
	}},
	{"limit", "the limit is read outside the script", []edit{
		{"scripts/lend.lua", "local has = held[card] or call('HLEN', card)\n", "local has = held[card] or tonumber(ARGV[#ARGV - entries + n])\n"},
		{"scripts/lend.lua", "local ids, requested, users, slips, books, rung = read_orders(15, entries, asking)\n",
			"local ids, requested, users, slips, books, rung = read_orders(15, entries, asking)\nfor i = #books, #books - entries + 1, -1 do books[i] = nil end\n"},
		{"lending/service.go", runDecide, `		for _, order := range orders {
			if held, err := s.config.Redis.HLen(ctx, s.keys.card(order.User)).Result(); err != nil {
				return err
			} else if action == library.Request {
				args = append(args, held)
			}
		}
` + runDecide},
	}},
	{"terms", "an instance reckons by the terms that it knows, whatever they are now", []edit{
		{"scripts/shared/orders.lua", "call('HGET', terms, 'version') ~= version", "not call('HGET', terms, 'version')"},
	}},
	{"day", "an instance reckons by a day of the library's that is over", []edit{
		{"scripts/lend.lua", "now_ms < from_ms or now_ms >= until_ms", "now_ms < from_ms"},
	}},
	{"calendar", "a loan ends as many times 24 hours later as it has days", []edit{
		{"lending/due.go", "library.StartOf(date.AddDate(0, 0, loanDays+1), zone).UnixMilli() - 1", "library.StartOf(date, zone).Add(time.Duration(loanDays+1)*24*time.Hour).UnixMilli() - 1"},
	}},
	{"promise", "receipts are kept as the terms of now say", []edit{
		{"scripts/shared/receipts.lua", "math.max(receipt_ms, math.ceil(pages.lives / 3))", "receipt_ms"},
	}},
	{"asleep", "a client that slept sends its order again", []edit{
		{"lending/client.go", "			} else if c.isLate(sent) {\n", "			} else if false {\n"},
	}},
	{"aof", "the append-only file is off", []edit{
		{"proof/chaos/chaos_test.go", `"--appendonly", "yes"`, `"--appendonly", "no"`},
	}},
}
