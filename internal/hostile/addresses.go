package hostile

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/cli"
	"example.com/library/library"
	"example.com/library/redisconn"

	urfave "github.com/urfave/cli/v2"
)

// addresses are what stands before and after a password in an address: some are right,
// and some are what people write by mistake.
var addresses = [][2]string{
	{"redis://:", "@localhost:1"}, {"redis://ali:", "@localhost:1/0"}, {"rediss://:", "@localhost:1"}, {"unix://:", "@/no/such.sock"},
	{"redis://:", "@cellar:port"}, {"redis://:", "@cellar/0/1"}, {"redis://:", "%@cellar"}, {"redis://:ses/", "@cellar"}, {"redis://:se#", "@cellar"},
	{"redis://:open ", "@cellar:port"}, {"redis://:open \"", "\"@cellar:port"}, {"redis://:=", "=@cellar:port"}, {"redis://:", "\x1b@cellar"}, {"redis://:", "\n@cellar"},
	{"redis://:open,", ",@cellar:port"}, {"redis://:\u202e", "\u0301@cellar:port"}, {"redis://:" + strings.Repeat("x", 300), "@cellar:port"}, {"redis://:", strings.Repeat("y", 300) + "@cellar:port"},
	{"redis:/:", "@cellar"}, {"redis//:", "@cellar"}, {"ali:", "@cellar:6379"}, {"http://:", "@cellar"}, {"://:", "@"}, {"redis://:'", "'@x y"}, {"redis://:\\", "\\@cellar:port"},
	{"redis://:@", "@cellar:port"}, {"redis://:a@://", "@cellar:port"}, {"redis://:", "@cellar:port,attic"}, {"attic,redis://:", "@cellar:port"}, {"redis://:%", "@localhost:1"},
}

// FuzzAddresses puts addresses with a password where they belong on the command line,
// and where they do not. The password is never shown; where the address is at fault, what to do about it
// always is. lookUp is a command with a name that asks Redis for something.
func FuzzAddresses(f *testing.F, app func() *urfave.App, lookUp ...string) {
	const secret = "sesame"
	for i, address := range addresses {
		for where := range uint8(14) {
			if int(where)%7 == i%7 || where < 2 { // which is enough of them
				f.Add(where, address[0], address[1])
			}
		}
	}
	f.Setenv("LENDING_TIMEOUT", "1ms")
	f.Fuzz(func(t *testing.T, where uint8, before, after string) {
		address := before + secret + after
		if strings.Contains(before+after, secret) || !strings.Contains(after, "@") || strings.Contains(address, "\x00") {
			t.Skip("it is no secret, or nothing that a program can be given")
		}
		_, wrong := redisconn.Connect(redisconn.Options{Addresses: redisconn.SplitAddresses(address), Library: "main"})
		t.Setenv("LENDING_ADDRESS", "localhost:1")
		args, asAddress := append([]string{}, lookUp...), false
		switch where % 14 {
		case 0:
			args, asAddress = append(args, "-a", address), true
		case 1:
			args, asAddress = append(args, "--address="+address), true
		case 2:
			t.Setenv("LENDING_ADDRESS", address)
			asAddress = true
		case 3:
			args = append(args, address)
		case 4:
			args = append(args, "--", address, address)
		case 5:
			args = []string{address}
		case 6:
			args = append(args, "--db", address)
		case 7:
			args = append(args, "--library", address)
		case 8:
			args = append(args, "--password-file", address)
		case 9:
			args = append(args, "--"+address)
		case 10:
			args = append(args, "-"+address)
		case 11:
			args = append(args, "--output", address)
		case 12:
			args = append(args, "--ssl="+address)
		case 13:
			args = append([]string{"help"}, address)
		}
		if asAddress && wrong == nil && !strings.Contains(after, "@localhost:1") && !strings.Contains(after, "@/no/such") {
			t.Skip("it could lead anywhere")
		}
		output, told, code := Run(t, time.Minute, app(), "", args...)
		output += told
		WantShown(t, args, output, code)
		if strings.Contains(output, secret) {
			t.Errorf("%q shows the password:\n%s", args, output)
		}
		if asAddress && errors.Is(wrong, redisconn.ErrAddress) && (code != cli.ExitUsage || !strings.Contains(output, library.Plain(wrong.Error()))) {
			t.Errorf("%q ends with code %d and says:\n%s\nwant code %d and all of this:\n%s", args, code, output, cli.ExitUsage, wrong)
		}
	})
}
