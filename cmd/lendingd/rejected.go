package main

import (
	"errors"
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
		Usage:       "list the entries that could not be understood or applied, put one back, or drop one",
		Description: "An entry that is put back is tried again, as if it had just been sent. The first\nword of each line is the ID that rejected retry and rejected drop take.",
		Flags:       append([]urfave.Flag{cli.OutputFlag()}, cli.ConnectionFlags()...),
		Action:      listRejected,
		Subcommands: []*urfave.Command{
			{
				Name:        "retry",
				Usage:       "put an entry back into its stream",
				ArgsUsage:   "ID",
				Description: asTheService,
				Flags:       append([]urfave.Flag{cli.OutputFlag(), setAsideByFlag()}, cli.ConnectionFlags()...),
				Action:      retryRejected,
			},
			{
				Name:      "drop",
				Usage:     "give up on an entry that was set aside; the log tells of it",
				ArgsUsage: "ID",
				Description: "It says what the entry leaves. A receipt that says rejected stands. A book that was on its\n" +
					"way by an entry between the services stays on its way for ever, so put such an entry back\n" +
					"unless it was forged.\n\n" + asTheService,
				Flags:  append([]urfave.Flag{cli.OutputFlag(), setAsideByFlag()}, cli.ConnectionFlags()...),
				Action: dropRejected,
			},
		},
	}
}

const asTheService = "Only the service that set an entry aside may do this, where Redis has users for them\n" +
	"(lendingd acl). With --password-dir this connects as that service."

func setAsideByFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "service", Usage: "the `SERVICE` that set it aside, if both have an entry with that ID: lending or shelving"}
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
	return onRejected(c, func(by cli.Connection, entry worker.RejectedEntry) error {
		client, err := lending.NewClient(by.Redis, by.Keys.Library)
		if err != nil {
			return err
		}
		defer client.Close()
		id, err := client.Retry(c.Context, entry.Service, entry.ID)
		if err != nil {
			return fmt.Errorf("put the entry back: %w", err)
		}
		cli.IfUnwritten(c, "the entry was put back as "+id)
		if cli.JSON(c) {
			return cli.WriteJSON(c.App.Writer, map[string]string{"entry": id})
		}
		_, err = fmt.Fprintf(c.App.Writer, "put back as %s\n", id)
		return err
	})
}

// A dropped entry, as rejected drop shows it.
type dropped struct {
	ID      string `json:"id"`
	Service string `json:"service"`
	Stream  string `json:"stream"`
	Entry   string `json:"entry"`
	// Leaves is what remains of it.
	Leaves string `json:"leaves"`
}

func dropRejected(c *urfave.Context) error {
	return onRejected(c, func(by cli.Connection, entry worker.RejectedEntry) error {
		if err := worker.Drop(c.Context, by.Redis, by.Keys, entry.Service, entry.ID); err != nil {
			return fmt.Errorf("drop the entry: %w", err)
		}
		left := leaves(by.Keys, entry)
		cli.IfUnwritten(c, "the entry was dropped; it leaves "+left)
		if cli.JSON(c) {
			return cli.WriteJSON(c.App.Writer, dropped{entry.ID, entry.Service, library.Plain(entry.Stream), library.Plain(entry.Entry), left})
		}
		_, err := fmt.Fprintf(c.App.Writer, "dropped %s; it leaves %s\n", entry.ID, left)
		return err
	})
}

// leaves says what remains when an entry is dropped.
func leaves(keys library.Keys, entry worker.RejectedEntry) string {
	if id := entry.Fields["id"]; keys.FromClients(entry.Stream) && library.CheckID("id", id) == nil {
		return "the receipt of order " + id + ": rejected"
	}
	if keys.FromClients(entry.Stream) {
		return "nothing"
	}
	read := worker.ReadOrders
	if entry.Stream == keys.Stores() {
		read = worker.ReadBooks
	}
	parcels, _ := worker.ReadParcels([]worker.Entry{{Fields: entry.Fields}}, read)
	if len(parcels) == 0 {
		return "nothing that can be told"
	}
	var books []string
	for _, order := range parcels[0].Orders {
		books = append(books, library.Printable(order.Book))
	}
	return "books that are perhaps on their way for ever, see lendingd audit: " + strings.Join(books, ", ")
}

// onRejected calls f with the entry that the command names, and with a connection as the
// service that set it aside.
func onRejected(c *urfave.Context, f func(by cli.Connection, entry worker.RejectedEntry) error) error {
	names, err := cli.Names(c, 1, 1)
	if err != nil {
		return err
	}
	id := names[0]
	if !entryIDPattern.MatchString(id) {
		return cli.UsageError{Message: fmt.Sprintf("%s is not an entry's id, such as 1700000000000-0; lendingd rejected lists them", library.Printable(id))}
	}
	services := library.Services()
	if c.IsSet("service") {
		services = []string{c.String("service")}
		if err := cli.OneOf(c, "service", library.Services()...); err != nil {
			return err
		}
	}
	var found []string
	var by cli.Connection
	var entry worker.RejectedEntry
	for _, service := range services {
		rdb, keys, err := cli.Connect(c, service)
		if err != nil {
			return err
		}
		defer rdb.Close()
		if err := cli.Reach(c.Context, rdb, keys, cli.ToSend); err != nil {
			return err
		}
		one, err := worker.FindRejected(c.Context, rdb, keys, service, id)
		if errors.Is(err, worker.ErrNotRejected) {
			continue
		}
		if err != nil {
			return err
		}
		found = append(found, service)
		by, entry = cli.Connection{Redis: rdb, Keys: keys}, one
	}
	switch len(found) {
	case 0:
		return fmt.Errorf("%w: %s; lendingd rejected lists them", worker.ErrNotRejected, id)
	case 1:
		return f(by, entry)
	}
	return fmt.Errorf("the services %s have each set an entry with this id aside; say which with --service", strings.Join(found, " and "))
}
