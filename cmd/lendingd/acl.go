package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"example.com/library/acl"
	"example.com/library/internal/cli"
	"example.com/library/library"

	urfave "github.com/urfave/cli/v2"
)

func aclCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "acl",
		Usage: "print the rules by which Redis gives each program only what it needs",
		Description: `There are six users: getbooks; lending and shelving, as which lendingd runs these
services; staff, who may read all and write nothing (lendingd status, top, rejected,
audit and --metrics, getbooks book --staff); director, who sets the terms; and gateway,
for the page. The user default is turned off, so have a user of your own first:

   redis-cli ACL SETUSER operator on '>PASSWORD' '~*' '&*' +@all
   export REDISCLI_AUTH=PASSWORD
   lendingd acl --password-dir keys | redis-cli --user operator
   redis-cli --user operator ACL SAVE         (CONFIG REWRITE where there is no ACL file)
   lendingd --password-dir keys worker1
   getbooks request user1 geb --password-dir keys

--password-dir makes a password for each user that has no file there yet, and prints its
hash. Give each machine only the files it needs. Without the flag the users keep the
passwords they have; one without any cannot connect. Name all libraries of a server in
one call, for a user's rules replace those it had. Nothing is sent to Redis. redis-cli
gives REDISCLI_AUTH for every user: set it anew before you connect by it as another.`,
		Flags: []urfave.Flag{
			cli.OutputFlag(),
			&urfave.StringSliceFlag{
				Name: "library", EnvVars: []string{"LENDING_LIBRARY"}, Usage: "the library's `NAME`; with commas, or repeated, several libraries", DefaultText: "main", KeepSpace: true,
			},
			&urfave.IntFlag{Name: "db", EnvVars: []string{"LENDING_DB"}, Usage: "database `NUMBER`", Value: 0},
			&urfave.StringFlag{Name: "password-dir", EnvVars: []string{"LENDING_PASSWORD_DIR"}, Usage: "`DIR` with a file for each user's password"},
			&urfave.BoolFlag{Name: "replicas", DisableDefaultText: true, Usage: "let getbooks use --wait-replicas, by which it could also end receipts early"},
			&urfave.BoolFlag{Name: "aclfile", DisableDefaultText: true, Usage: "print lines for Redis's ACL file instead of commands"},
		},
		Action: printACL,
	}
}

func printACL(c *urfave.Context) error {
	if _, err := cli.Names(c, 0, 0); err != nil {
		return err
	}
	options := acl.Options{Libraries: cli.Libraries(c), DB: c.Int("db"), Replicas: c.Bool("replicas")}
	for _, name := range options.Libraries {
		if err := library.CheckTag("library", name); err != nil {
			return cli.Sourced(c, "library", err)
		}
	}
	if options.DB < 0 {
		return cli.UsageError{Message: fmt.Sprintf("%s cannot be negative, as %d is", cli.Source(c, "db"), options.DB)}
	}
	var users []userRules
	for _, user := range acl.Users {
		rules := acl.Rules(user, options)
		if dir := c.String("password-dir"); dir != "" {
			password, err := passwordOf(user, dir)
			if err != nil {
				return err
			}
			rules = fmt.Sprintf("resetpass #%x %s", sha256.Sum256([]byte(password)), rules)
		}
		users = append(users, userRules{user, rules})
	}
	users = append(users, userRules{"default", "off"})
	if err := writeRules(c, users); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "the last line turns the user default off: have a user of your own before you use these, see lendingd acl --help")
	return nil
}

// userRules are what Redis is told of a user.
type userRules struct {
	User  string `json:"user"`
	Rules string `json:"rules"`
}

// writeRules prints the rules: in JSON, or a line a user as Redis takes them.
func writeRules(c *urfave.Context, users []userRules) error {
	begin := "ACL SETUSER "
	if c.Bool("aclfile") {
		begin = "user "
	}
	for _, user := range users {
		var err error
		if cli.JSON(c) {
			err = cli.WriteJSON(c.App.Writer, user)
		} else {
			_, err = fmt.Fprintln(c.App.Writer, begin+user.User+" "+user.Rules)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// passwordOf reads a user's password from its file in a directory. Where there is
// none yet it makes a new one.
func passwordOf(user, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make passwords: %w", err)
	}
	path := filepath.Join(dir, user)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return cli.ReadPassword(path)
	}
	if err != nil {
		return "", fmt.Errorf("make a password: %w", err)
	}
	password := rand.Text()
	_, err = fmt.Fprintln(file, password)
	if err = errors.Join(err, file.Close()); err != nil {
		return "", fmt.Errorf("make a password: %w", err)
	}
	fmt.Fprintf(os.Stderr, "made a password for %s in %s\n", user, library.Printable(path))
	return password, nil
}
