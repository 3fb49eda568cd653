package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/library/acl"
	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/status"
	"example.com/library/worker"

	urfave "github.com/urfave/cli/v2"
)

func statusCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "status",
		Usage: "show who runs, what waits, and where the books are",
		Description: `Instances are those whose lock stands. A backlog is what nobody has read yet;
pending is what is in an instance's hands; oldest is the age of the oldest of both.
Of several libraries each is shown that can be reached, in JSON one object a line.`,
		Flags:  append([]urfave.Flag{cli.OutputFlag()}, cli.SeveralConnectionFlags()...),
		Action: showStatus,
	}
}

func showStatus(c *urfave.Context) error {
	if _, err := cli.Names(c, 0, 0); err != nil {
		return err
	}
	connections, err := cli.ConnectEach(c, acl.Staff)
	if err != nil {
		return err
	}
	var failed error
	for i, connection := range connections {
		defer connection.Redis.Close()
		var now *status.Status
		err := atLibrary(c, "look at", connection, cli.ToLookUp, func() (err error) {
			now, err = status.Look(c.Context, connection.Redis, connection.Keys)
			return err
		})
		switch {
		case err != nil:
		case cli.JSON(c):
			err = cli.WriteJSON(c.App.Writer, now)
		default:
			if i > 0 {
				fmt.Fprintln(c.App.Writer)
			}
			err = writeStatus(c.App.Writer, now)
		}
		if failed != nil && err != nil {
			err = fmt.Errorf("%w; %w", failed, err)
		}
		failed = cmp.Or(err, failed)
	}
	return failed
}

// atLibrary calls f when the server that has a library answers. Its error tells what
// was tried, and where.
func atLibrary(c *urfave.Context, tried string, connection cli.Connection, purpose cli.Purpose, f func() error) error {
	if err := cli.Reach(c.Context, connection.Redis, connection.Keys, purpose); err != nil {
		return fmt.Errorf("%s library %q: %w", tried, connection.Keys.Library, err)
	}
	if err := f(); err != nil {
		return fmt.Errorf("%s library %q on %s: %w", tried, connection.Keys.Library, redisconn.Where(connection.Redis), err)
	}
	return nil
}

// writeStatus writes a status in which nothing is left out.
func writeStatus(w io.Writer, s *status.Status) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(table, "library %s on %s\n\n", s.Library, s.Redis)
	fmt.Fprintf(table, "INSTANCE\tHOST\tPID\tSINCE\tSERVICES\n")
	for _, owner := range s.Instances {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", owner.Name, owner.Host, owner.PID,
			owner.Since.Local().Format(time.DateTime), library.Plain(strings.Join(owner.Services, ", ")))
	}
	if len(s.Instances) == 0 {
		fmt.Fprintf(table, "none runs; start one: lendingd worker1\n")
	}
	for _, owner := range s.Instances {
		if owner.LockMS == -1 || owner.LockMS > worker.LockTTLMax.Milliseconds() {
			fmt.Fprintf(table, "\nthe lock of %s lives longer than any may (%s), as after Redis's clock was set back;\nif it is dead, take its name over: lendingd --force %s\n",
				owner.Name, worker.LockTTLMax, owner.Name)
		}
	}
	fmt.Fprintf(table, "\nSTREAM\tBACKLOG\tPENDING\tOLDEST\n")
	for _, state := range s.Streams {
		oldest := "-"
		if state.Oldest > 0 {
			oldest = state.Oldest.Round(100 * time.Millisecond).String()
		}
		stuck := ""
		if state.Stuck > 0 {
			stuck = fmt.Sprintf("\tof these came back too often: %d; see lendingd audit", state.Stuck)
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s%s\n", state.Name(), state.Unread, state.Pending, oldest, stuck)
	}
	fmt.Fprintf(table, "\nBOOKS\n")
	fmt.Fprintf(table, "lent\t%d\tof these on their way: %d\n", s.Lending.Loans, s.Lending.OnTheWay)
	fmt.Fprintf(table, "front storage\t%d\troom for: %d\n", s.Lending.Front, s.Lending.FrontMax)
	fmt.Fprintf(table, "off the shelves\t%d\tof these awaited: %d\n", s.Shelving.Out, s.Shelving.Awaited)
	if s.Terms != nil {
		fmt.Fprintf(table, "\nTERMS\n%s\n", library.Plain(strings.Join(s.Terms.Changes(nil), ", ")))
		if len(s.Terms.NotedOtherwise) > 0 {
			fmt.Fprintf(table, "%s\n", notedOtherwise(s.Terms))
		}
	}
	switch percent := s.Memory.Percent(); {
	case percent >= lending.RequestsMemoryMax:
		fmt.Fprintf(table, "\nthe server's memory is full: %d %% of %d bytes; requests wait, and what is too much is given up\n", percent, s.Memory.Max)
	case percent >= lending.RequestsMemoryMax-15:
		fmt.Fprintf(table, "\nthe server's memory is nearly full: %d %% of %d bytes; from %d %% on requests wait\n", percent, s.Memory.Max, lending.RequestsMemoryMax)
	}
	for _, service := range library.Services() {
		if n := s.Rejected[service]; n > 0 {
			fmt.Fprintf(table, "\n%s rejected by %s; see lendingd rejected\n", cli.Count(n, "entry", "entries"), service)
		}
	}
	return table.Flush()
}
