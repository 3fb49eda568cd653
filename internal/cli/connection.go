package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/library/acl"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
	"github.com/urfave/cli/v2"
)

// ConnectionFlags are the flags that say which library is meant and where its
// Redis is. Each call makes new ones, since cli keeps values in them.
func ConnectionFlags() []cli.Flag {
	return append(serverFlags(), &cli.StringFlag{
		Name: "library", EnvVars: []string{"LENDING_LIBRARY"}, Category: "Connection", Usage: "the library's `NAME`", Value: "main",
	})
}

// SeveralConnectionFlags are ConnectionFlags for a command that can do with
// several libraries.
func SeveralConnectionFlags() []cli.Flag {
	return append(serverFlags(), &cli.StringSliceFlag{
		Name: "library", EnvVars: []string{"LENDING_LIBRARY"}, Category: "Connection",
		Usage: "the library's `NAME`; with commas, or repeated, several libraries", DefaultText: "main", KeepSpace: true,
	})
}

func serverFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{
			Name: "address", Aliases: []string{"a"}, EnvVars: []string{"LENDING_ADDRESS"}, Category: "Connection",
			Usage:       "Redis at `ADDRESS`: redis://, rediss:// or unix:// URL, host:port, or a socket's path; with commas, or repeated, several servers",
			DefaultText: redisconn.DefaultAddress, KeepSpace: true,
		},
		&cli.BoolFlag{Name: "cluster", DisableDefaultText: true, EnvVars: []string{"LENDING_CLUSTER"}, Category: "Connection", Usage: "the servers are nodes of one Redis Cluster; without it, a library's name chooses the one that has it"},
		&cli.IntFlag{Name: "db", EnvVars: []string{"LENDING_DB"}, Category: "Connection", Usage: "database `NUMBER`", DefaultText: "the address's, or 0"},
		&cli.StringFlag{
			Name: "password", EnvVars: []string{"LENDING_PASSWORD"}, Category: "Connection",
			Usage: "`PASSWORD`; others can see it on the command line, so use the environment or --password-file", DefaultText: "none",
		},
		&cli.StringFlag{
			Name: "password-file", EnvVars: []string{"LENDING_PASSWORD_FILE"}, Category: "Connection",
			Usage: "read the password from `FILE`, which only you may read (chmod 600)",
		},
		&cli.StringFlag{
			Name: "password-dir", EnvVars: []string{"LENDING_PASSWORD_DIR"}, Category: "Connection",
			Usage: "connect as the users of lendingd acl, each with the password in the file of its name in `DIR`",
		},
		&cli.BoolFlag{Name: "ssl", DisableDefaultText: true, EnvVars: []string{"LENDING_SSL"}, Category: "Connection", Usage: "connect with TLS, as rediss:// does"},
		&cli.StringFlag{
			Name: "ssl-ca", EnvVars: []string{"LENDING_SSL_CA"}, Category: "Connection",
			Usage: "believe a server that a CA in `FILE` vouches for (PEM)", DefaultText: "those the system trusts",
		},
		&cli.StringFlag{Name: "ssl-cert", EnvVars: []string{"LENDING_SSL_CERT"}, Category: "Connection", Usage: "show the server the client certificate in `FILE` (PEM)"},
		&cli.StringFlag{Name: "ssl-key", EnvVars: []string{"LENDING_SSL_KEY"}, Category: "Connection", Usage: "its key, in `FILE` (PEM), which only you may read (chmod 600)"},
	}
}

// A Connection is a library, and a client of the Redis that has it.
type Connection struct {
	Redis redis.UniversalClient
	Keys  library.Keys
}

// Connect makes the client that the connection flags describe, and the keys of
// the library they name. It does not dial yet. role is the user of lendingd acl that
// may do what the command is about to; with --password-dir it connects as that user.
// Its error wraps redisconn.ErrAddress or library.ErrName, or is a UsageError, or says
// which file cannot be read.
func Connect(c *cli.Context, role string) (redis.UniversalClient, library.Keys, error) {
	connections, err := connect(c, []string{c.String("library")}, role)
	if err != nil {
		return nil, library.Keys{}, err
	}
	return connections[0].Redis, connections[0].Keys, nil
}

// ConnectEach is Connect for a command that has SeveralConnectionFlags. Every
// library gets a client of its own, so that one whose server is away cannot hold
// the others up. A library that is named twice counts once.
func ConnectEach(c *cli.Context, role string) ([]Connection, error) {
	return connect(c, Libraries(c), role)
}

// HasRoles says whether ConnectEach connects as another user for each role.
func HasRoles(c *cli.Context) bool { return c.String("password-dir") != "" }

// Libraries are the names in SeveralConnectionFlags, unchecked, each once.
func Libraries(c *cli.Context) []string {
	given := []string{"main"}
	if c.IsSet("library") {
		given = strings.Split(strings.Join(c.StringSlice("library"), ","), ",")
	}
	var names []string
	for _, name := range given {
		if name = strings.TrimSpace(name); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// replyMax is more than anything that a library's own entries make up, and little
// enough to be read in time.
const replyMax = 16 << 20

func connect(c *cli.Context, names []string, role string) ([]Connection, error) {
	for _, name := range names {
		if err := library.CheckTag("library", name); err != nil {
			return nil, Sourced(c, "library", err)
		}
	}
	options := redisconn.Options{
		Cluster: c.Bool("cluster"), TLS: c.Bool("ssl"),
		Certificates: redisconn.Certificates{CA: c.String("ssl-ca"), Certificate: c.String("ssl-cert"), Key: c.String("ssl-key")},
	}
	for _, text := range c.StringSlice("address") {
		options.Addresses = append(options.Addresses, redisconn.SplitAddresses(text)...)
	}
	if c.IsSet("db") {
		db := c.Int("db")
		options.DB = &db
	}
	if key := options.Certificates.Key; key != "" {
		if err := CheckSecret("key", key); err != nil {
			return nil, err
		}
	}
	if role != acl.Getbooks { // whose client subscribes
		options.ReplyMax = replyMax
	}
	var err error
	if options.User, options.Password, err = credentials(c, role); err != nil {
		return nil, err
	}
	var connections []Connection
	for _, name := range names {
		options.Library = name
		rdb, err := redisconn.Connect(options)
		if errors.Is(err, redisconn.ErrAddress) {
			err = Sourced(c, "address", err)
		}
		if err != nil {
			return nil, err
		}
		hangUp(c.Context, rdb)
		connections = append(connections, Connection{rdb, library.Keys{Library: name}})
	}
	return connections, nil
}

// stopPatience is how long a program that was told to stop waits for Redis in all.
const stopPatience = 4 * time.Second

// hangUp closes a client when its program was told to stop and should have finished.
// Whatever the client still waits for then ends, whichever command it is and however
// long that may take.
func hangUp(ctx context.Context, rdb redis.UniversalClient) {
	context.AfterFunc(ctx, func() { time.AfterFunc(stopPatience, func() { _ = rdb.Close() }) })
}

// credentials are the user and the password that the flags say; each is empty where
// the address may say it.
func credentials(c *cli.Context, role string) (user, password string, err error) {
	password, file, dir := c.String("password"), c.String("password-file"), c.String("password-dir")
	switch {
	case password != "" && file != "":
		return "", "", usageErrorf("give %s or %s, not both", Source(c, "password"), Source(c, "password-file"))
	case dir != "" && (password != "" || file != ""):
		return "", "", usageErrorf("give %s or one password, not both", Source(c, "password-dir"))
	case dir != "":
		password, err = ReadPassword(filepath.Join(dir, role))
		return role, password, err
	case file != "":
		password, err = ReadPassword(file)
	}
	return "", password, err
}

// CheckSecret refuses a file that others can read.
func CheckSecret(what, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read the %s: %w", what, err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return usageErrorf("others can read the %s in %s; run: chmod 600 %s", what, library.Printable(path), library.Printable(path))
	}
	return nil
}

// ReadPassword reads a password from a file that nobody else may read. Its error is a
// UsageError if others may.
func ReadPassword(path string) (string, error) {
	if err := CheckSecret("password", path); err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return "", fmt.Errorf("read the password: %s is empty", library.Printable(path))
	}
	return password, nil
}
