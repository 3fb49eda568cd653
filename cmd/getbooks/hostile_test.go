package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/cli"
	"example.com/library/internal/hostile"
	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
	urfave "github.com/urfave/cli/v2"
)

// FuzzWhatIsShown has the lookups show what somebody wrote into Redis by hand: they
// may say that they cannot read it, but not pass it on to the terminal.
func FuzzWhatIsShown(f *testing.F) {
	for i, text := range hostile.Texts {
		f.Add(text, hostile.Texts[(i+7)%len(hostile.Texts)], int64(1797760800123), uint8(i))
	}
	f.Add("user1", "geb", int64(-1<<63), uint8(0))
	f.Add("user1", "geb", int64(1<<63-1), uint8(1))
	const id, last = "receipt-1", "this-was-all"
	keys := library.Keys{Library: "main"}
	rdb := redistest.Embedded(f)
	address := rdb.Options().Addr
	f.Fuzz(func(t *testing.T, text, other string, due int64, which uint8) {
		ctx := t.Context()
		quoted := func(text string) string {
			encoded, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			return string(encoded)
		}
		receipt := fmt.Sprintf(`{"id":%[1]s,"action":%[2]s,"user":%[1]s,"books":[%[2]s,%[1]s,"geb"],"outcome":%[3]s,"reason":%[1]s,"results":[%[6]s,%[1]s,%[4]s],"due_ms":%[5]d}`,
			quoted(text), quoted(other), quoted([]string{"granted", "partial", "rejected", "denied", other}[which%5]),
			quoted([]string{"already_yours:" + fmt.Sprint(due), "on_its_way", other}[which%3]), due, quoted([]string{"front", "shelves", other}[which%3]))
		if which%11 == 0 {
			receipt = text
		}
		pipe := rdb.Pipeline()
		pipe.FlushAll(ctx)
		pipe.HSet(ctx, keys.Key("lending:receipts"), id, receipt, text, receipt)
		pipe.HSet(ctx, keys.Key("lending:card:user1"), text, other, other, due, "geb", due)
		pipe.HSet(ctx, keys.Key("lending:loans"), "geb", text, text, other)
		pipe.HSet(ctx, keys.Key("lending:fetching"), text, other)
		pipe.HSet(ctx, keys.Key("lending:terms"), "loans_max", []string{"5", other}[which%2])
		entryID := "*"
		if due > 0 {
			entryID = fmt.Sprintf("%d-1", due)
		}
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: keys.Events(), ID: entryID, Values: []string{
			"event", []string{"decided", "rejected", "fetched", "shelved", text}[which%5], "by", text, "receipts", "[" + receipt + "]", "receipt", receipt,
			"orders", "[[" + quoted(text) + "," + quoted(other) + "," + quoted(text) + "]]", "books", "[" + quoted(text) + "]", "stream", other, "entry", text, "reason", other,
		}})
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		// A log that ends with the last id there can be takes no more, so this may fail.
		watchable := rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.Events(), ID: fmt.Sprintf("%d-2", max(due, time.Now().Add(time.Hour).UnixMilli())), Values: []string{"event", last}}).Err() == nil
		for _, args := range [][]string{
			{"receipt", id}, {"explain", id}, {"watch", "--since", "0"}, {"card", "user1"}, {"book", "geb", "--staff"},
		} {
			if args[0] == "watch" && !watchable {
				continue
			}
			for _, format := range []string{"text", "json"} {
				args := append(args, "-o", format, "-a", address)
				output, errors, code := hostile.Run(t, time.Minute, app(), last, args...)
				hostile.WantShown(t, args, output+errors, code)
				for _, line := range strings.Split(strings.TrimSuffix(output, "\n"), "\n") {
					if format == "json" && line != "" && !json.Valid([]byte(line)) {
						t.Errorf("%q printed %q, want JSON", args, line)
					}
				}
				if args[0] == "watch" && (code != cli.ExitDone || !strings.Contains(output, last)) {
					t.Errorf("%q ended with code %d before the last event: %s", args, code, errors)
				}
			}
		}
	})
}

// FuzzArguments gives every flag of every command any value, and any names. An address
// is only looked at, since it could lead anywhere; its password is never shown.
func FuzzArguments(f *testing.F) {
	for i, text := range hostile.Texts {
		f.Add(uint8(i), uint8(i), text, "user1", hostile.Texts[(i+3)%len(hostile.Texts)])
		f.Add(uint8(i), uint8(i+5), hostile.Texts[(i+5)%len(hostile.Texts)], text, "geb")
	}
	rdb := redistest.Embedded(f)
	f.Setenv("LENDING_ADDRESS", rdb.Options().Addr)
	f.Setenv("LENDING_TIMEOUT", "1ms")
	f.Fuzz(func(t *testing.T, command, flag uint8, value, first, second string) {
		if strings.Contains(value+first+second, "sesame") {
			t.Skip("the password is no secret")
		}
		commands := app().Commands
		chosen := commands[int(command)%len(commands)]
		args := []string{chosen.Name, "--", first, second}
		if len(chosen.Flags) > 0 {
			name := chosen.Flags[int(flag)%len(chosen.Flags)].Names()[0]
			switch name {
			case "password-file", "password-dir", "ssl-ca", "ssl-cert", "ssl-key", "cluster":
				t.Skip("it could lead anywhere")
			case "address":
				value = "redis://:sesame@" + value + "@:0" // no port has the number 0
			case "since", "timeout", "output":
			default:
				if _, isBool := chosen.Flags[int(flag)%len(chosen.Flags)].(*urfave.BoolFlag); isBool && value == "" {
					value = "true"
				}
			}
			args = append([]string{chosen.Name, "--" + name + "=" + value}, args[1:]...)
			if flag%16 == 15 {
				args[1] = "--x" + value // no flag begins so
			}
		}
		t.Chdir(t.TempDir())
		output, errors, code := hostile.Run(t, time.Minute, app(), "", args...)
		hostile.WantShown(t, args, output+errors, code)
		if strings.Contains(output+errors, "sesame") {
			t.Errorf("%q gives the password away: %s%s", args, output, errors)
		}
	})
}
