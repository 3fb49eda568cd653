package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"example.com/library/acl"
	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/worker"

	urfave "github.com/urfave/cli/v2"
)

func rejectedCommand() *urfave.Command {
	return &urfave.Command{
		Name:        "rejected",
		Usage:       "list the entries that could not be understood or applied, or put one back",
		Description: "An entry that is put back is tried again, as if it had just been sent. The first\nword of each line is the ID that rejected retry takes.",
		Flags:       append([]urfave.Flag{cli.OutputFlag()}, cli.ConnectionFlags()...),
		Action:      listRejected,
		Subcommands: []*urfave.Command{{
			Name:      "retry",
			Usage:     "put an entry back into its stream",
			ArgsUsage: "ID",
			Description: "Only the service that set an entry aside may put it back, where Redis has users for\n" +
				"them (lendingd acl). With --password-dir this connects as that service.",
			Flags: append([]urfave.Flag{
				cli.OutputFlag(),
				&urfave.StringFlag{Name: "service", Usage: "the `SERVICE` that set it aside, if both have an entry with that ID: lending or shelving"},
			}, cli.ConnectionFlags()...),
			Action: retryRejected,
		}},
	}
}

func listRejected(c *urfave.Context) error {
	if _, err := cli.Names(c, 0, 0); err != nil {
		return err
	}
	rdb, keys, err := cli.Connect(c, acl.Staff)
	if err != nil {
		return err
	}
	defer rdb.Close()
	if err := cli.Reach(c.Context, rdb, keys, cli.ToLookUp); err != nil {
		return err
	}
	write := writeRejected
	if cli.JSON(c) {
		write = encodeRejected
	}
	count := 0
	for _, service := range library.Services() {
		err := worker.EachRejected(c.Context, rdb, keys, service, func(entry worker.RejectedEntry) error {
			count++
			return write(c.App.Writer, entry)
		})
		if err != nil {
			return err
		}
	}
	if count == 0 && !cli.JSON(c) {
		fmt.Fprintln(c.App.Writer, "nothing is set aside")
	}
	return nil
}

// writeRejected shows an entry in one line. Its fields may hold anything.
func writeRejected(w io.Writer, entry worker.RejectedEntry) error {
	_, inbox, _ := strings.Cut(entry.Stream, ":")
	words := []string{entry.ID + " ", library.Plain(inbox), library.Plain(entry.Entry) + ":", library.Plain(entry.Reason)}
	if len(entry.Fields) == 0 {
		words = append(words, "(not kept)")
	}
	for _, name := range slices.Sorted(maps.Keys(entry.Fields)) {
		words = append(words, library.Plain(name)+"="+library.Printable(entry.Fields[name]))
	}
	_, err := fmt.Fprintln(w, strings.Join(words, " "))
	return err
}

// encodeRejected shows an entry as one JSON object, what does not print escaped.
func encodeRejected(w io.Writer, entry worker.RejectedEntry) error {
	plain := make(map[string]string, len(entry.Fields))
	for name, value := range entry.Fields {
		plain[library.Plain(name)] = library.Plain(value)
	}
	entry.Fields = plain
	return cli.WriteJSON(w, entry)
}

var entryIDPattern = regexp.MustCompile(`^\d{1,20}-\d{1,20}$`)

func retryRejected(c *urfave.Context) error {
	names, err := cli.Names(c, 1, 1)
	if err != nil {
		return err
	}
	if !entryIDPattern.MatchString(names[0]) {
		return cli.UsageError{Message: fmt.Sprintf("%s is not an entry's id, such as 1700000000000-0; lendingd rejected lists them", library.Printable(names[0]))}
	}
	services := library.Services()
	if c.IsSet("service") {
		services = []string{c.String("service")}
		if err := cli.OneOf(c, "service", library.Services()...); err != nil {
			return err
		}
	}
	// An entry is put back as the service that set it aside.
	var found []string
	var client *lending.Client
	for _, service := range services {
		rdb, keys, err := cli.Connect(c, service)
		if err != nil {
			return err
		}
		defer rdb.Close()
		if err := cli.Reach(c.Context, rdb, keys, cli.ToSend); err != nil {
			return err
		}
		entries, err := rdb.XRange(c.Context, keys.Rejected(service), names[0], names[0]).Result()
		if err != nil {
			return fmt.Errorf("look for entry %s: %w", names[0], err)
		}
		if len(entries) == 0 {
			continue
		}
		found = append(found, service)
		if client, err = lending.NewClient(rdb, keys.Library); err != nil {
			return err
		}
		defer client.Close()
	}
	switch len(found) {
	case 0:
		return fmt.Errorf("%w: %s; lendingd rejected lists them", worker.ErrNotRejected, names[0])
	case 1:
	default:
		return fmt.Errorf("the services %s have each set an entry with this id aside; say which with --service", strings.Join(found, " and "))
	}
	entry, err := client.Retry(c.Context, found[0], names[0])
	if err != nil {
		return fmt.Errorf("put the entry back: %w", err)
	}
	cli.IfUnwritten(c, "the entry was put back as "+entry)
	if cli.JSON(c) {
		return cli.WriteJSON(c.App.Writer, map[string]string{"entry": entry})
	}
	_, err = fmt.Fprintf(c.App.Writer, "put back as %s\n", entry)
	return err
}
