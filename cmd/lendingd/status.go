package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/library/acl"
	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/shelving"
	"example.com/library/worker"

	"github.com/redis/go-redis/v9"
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

// A status is what lendingd status shows.
type status struct {
	Library   string          `json:"library"`
	Redis     string          `json:"redis"`
	Instances []runningOwner  `json:"instances"`
	Streams   []worker.State  `json:"streams"`
	Lending   lending.Counts  `json:"lending"`
	Shelving  shelving.Counts `json:"shelving"`
	// Memory is how full the server is; left out if it has no limit, or tells none.
	Memory redisconn.Memory `json:"memory,omitzero"`
	// Rejected is how many entries each service set aside.
	Rejected map[string]int64 `json:"rejected"`
}

type runningOwner struct {
	Name string `json:"name"`
	worker.Owner
	// LockMS is how long its lock lives, unless it is refreshed; -1 for ever.
	LockMS int64 `json:"lock_ms"`
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
		var status *status
		err := atLibrary(c, "look at", connection, cli.ToLookUp, func() (err error) {
			status, err = lookAround(c.Context, connection.Redis, connection.Keys)
			return err
		})
		switch {
		case err != nil:
		case cli.JSON(c):
			err = cli.WriteJSON(c.App.Writer, status)
		default:
			if i > 0 {
				fmt.Fprintln(c.App.Writer)
			}
			err = status.write(c.App.Writer)
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

func lookAround(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) (*status, error) {
	status := &status{Library: keys.Library, Redis: redisconn.Standing(ctx, rdb, keys), Instances: []runningOwner{}, Rejected: map[string]int64{}}
	var names []string
	for _, service := range library.Services() {
		for _, inbox := range keys.Inboxes(service) {
			state, err := worker.Look(ctx, rdb, inbox, service)
			if err != nil {
				return nil, err
			}
			status.Streams = append(status.Streams, state)
			names = append(names, state.Consumers...)
		}
		rejected, err := rdb.XLen(ctx, keys.Rejected(service)).Result()
		if err != nil {
			return nil, err
		}
		status.Rejected[service] = rejected
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		value, err := rdb.Get(ctx, keys.Instance(name)).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return nil, err
		}
		owner, err := worker.ReadOwner(value)
		if err != nil {
			owner.Host = "unknown" // somebody set the lock by hand
		}
		owner.Host = library.Plain(owner.Host)
		lives, err := rdb.Do(ctx, "PTTL", keys.Instance(name)).Int64()
		if err != nil {
			return nil, err
		}
		if lives == -2 {
			continue // it has just ended
		}
		status.Instances = append(status.Instances, runningOwner{Name: library.Plain(name), Owner: owner, LockMS: lives})
	}
	var err error
	status.Memory, err = redisconn.ReadMemory(ctx, rdb, keys)
	if err != nil && redisconn.KindOf(err) != redisconn.Refused { // a user with rules of before may not ask
		return nil, err
	}
	client, err := lending.NewClient(rdb, keys.Library)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if status.Lending, err = client.Count(ctx); err != nil {
		return nil, err
	}
	status.Shelving, err = shelving.Count(ctx, rdb, keys)
	return status, err
}

func (s *status) write(w io.Writer) error {
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
		_, inbox, _ := strings.Cut(state.Stream, ":")
		oldest := "-"
		if state.Oldest > 0 {
			oldest = state.Oldest.Round(100 * time.Millisecond).String()
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\n", inbox, state.Unread, state.Pending, oldest)
	}
	fmt.Fprintf(table, "\nBOOKS\n")
	fmt.Fprintf(table, "lent\t%d\tof these on their way: %d\n", s.Lending.Loans, s.Lending.OnTheWay)
	fmt.Fprintf(table, "front storage\t%d\troom for: %d\n", s.Lending.Front, s.Lending.FrontMax)
	fmt.Fprintf(table, "off the shelves\t%d\tof these awaited: %d\n", s.Shelving.Out, s.Shelving.Awaited)
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
