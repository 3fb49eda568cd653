package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/hostile"
	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/redis/go-redis/v9"
	urfave "github.com/urfave/cli/v2"
)

// FuzzWhatIsShown has status and rejected show what somebody wrote into Redis by hand.
func FuzzWhatIsShown(f *testing.F) {
	for i, text := range hostile.Texts {
		f.Add(text, hostile.Texts[(i+7)%len(hostile.Texts)], uint8(i))
	}
	keys := library.Keys{Library: "main"}
	rdb := redistest.Embedded(f)
	address := rdb.Options().Addr
	f.Fuzz(func(t *testing.T, text, other string, which uint8) {
		ctx := t.Context()
		owner, err := json.Marshal(map[string]any{"host": text, "pid": which, "services": []string{other, text}})
		if err != nil {
			t.Fatal(err)
		}
		pipe := rdb.Pipeline()
		pipe.FlushAll(ctx)
		for _, service := range []string{library.Lending, library.Shelving} {
			for _, inbox := range keys.Inboxes(service) {
				pipe.XGroupCreateMkStream(ctx, inbox, service, "0")
				pipe.XGroupCreateConsumer(ctx, inbox, service, text)
				pipe.XAdd(ctx, &redis.XAddArgs{Stream: inbox, Values: []string{text, other}})
			}
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: keys.Rejected(service), Values: []string{
				"stream", text, "entry", other, "reason", text, "." + text, other, other, text,
			}})
		}
		pipe.Set(ctx, keys.Instance(text), []string{strings.Repeat("t", 26) + string(owner), other}[which%2], 0)
		pipe.HSet(ctx, keys.Key("lending:terms"), "front_max", []string{other, "5"}[which%2])
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"status", "rejected"} {
			for _, format := range []string{"text", "json"} {
				args := []string{command, "-o", format, "-a", address}
				output, errors, code := hostile.Run(t, time.Minute, app(), "", args...)
				hostile.WantShown(t, args, output+errors, code)
				for _, line := range strings.Split(strings.TrimSuffix(output, "\n"), "\n") {
					if format == "json" && line != "" && !json.Valid([]byte(line)) {
						t.Errorf("%q printed %q, want JSON", args, line)
					}
				}
			}
		}
	})
}

// FuzzArguments gives every flag of every command any value, and any names. What is
// understood runs for a moment. An address is only looked at, since it could lead
// anywhere; its password is never shown.
func FuzzArguments(f *testing.F) {
	for i, text := range hostile.Texts {
		f.Add(uint8(i), uint8(i), text, "worker1")
		f.Add(uint8(0), uint8(i), hostile.Texts[(i+5)%len(hostile.Texts)], text)
	}
	rdb := redistest.Embedded(f)
	f.Setenv("LENDING_ADDRESS", rdb.Options().Addr)
	f.Fuzz(func(t *testing.T, command, flag uint8, value, name string) {
		if strings.Contains(value+name, "sesame") {
			t.Skip("the password is no secret")
		}
		program := app()
		args, flags := []string{}, program.Flags
		if commands := append([]*urfave.Command{nil}, program.Commands...); commands[int(command)%len(commands)] != nil {
			chosen := commands[int(command)%len(commands)]
			args, flags = append(args, chosen.Name), chosen.Flags
			if len(chosen.Subcommands) > 0 && flag%2 == 1 {
				args, flags = append(args, chosen.Subcommands[0].Name), chosen.Subcommands[0].Flags
			}
		}
		if len(flags) > 0 {
			chosen := flags[int(flag)%len(flags)].Names()[0]
			switch chosen {
			case "password-file", "password-dir", "ssl-ca", "ssl-cert", "ssl-key", "to", "cluster", "embedded":
				t.Skip("it could lead anywhere, or take up a port")
			case "address":
				value = "redis://:sesame@" + value + "@:0" // no port has the number 0
			}
			if flag%16 == 15 {
				chosen = "x" // no flag begins so
			}
			args = append(args, "--"+chosen+"="+value)
		}
		args = append(args, "--", name)
		t.Chdir(t.TempDir())
		output, errors, code := hostile.Run(t, 20*time.Millisecond, app(), "", args...)
		hostile.WantShown(t, args, output+errors, code)
		if strings.Contains(output+errors, "sesame") {
			t.Errorf("%q gives the password away: %s%s", args, output, errors)
		}
	})
}
