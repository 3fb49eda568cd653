package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"example.com/library/internal/cli"
	"example.com/library/lending"
	"example.com/library/library"

	"github.com/mattn/go-isatty"
	urfave "github.com/urfave/cli/v2"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

const (
	// boxBytesMax and boxLinesMax bound what - reads.
	boxBytesMax = 32 << 20
	boxLinesMax = 100_000
)

// A line is one of standard input, or a name of the command line, whose number is 0.
type line struct {
	number int
	name   string
}

// A refusal is a line of a box that is no name of a book.
type refusal struct {
	Line   int            `json:"line"`
	Book   string         `json:"book"`
	Result library.Result `json:"result"`
	Reason string         `json:"reason"`
}

func (r refusal) String() string {
	return fmt.Sprintf("%s line %d: not taken back: %s", bad.Render("✗"), r.Line, library.Plain(r.Reason))
}

// readOrders makes an order of what the command line names. A return that reads a box
// from standard input may be several: a line that is no name is refused by itself, and
// the others are divided into as many orders as they need. The ids of these end with
// their numbers, so that the same box has the same ids when it is sent again with --id.
func readOrders(c *urfave.Context, action library.Action, user string, names []string) ([]lending.Order, []refusal, error) {
	lines, err := readLines(c, names)
	if err != nil {
		return nil, nil, err
	}
	var books []string
	var refused []refusal
	for _, line := range lines {
		book, err := library.CleanName("book", line.name)
		switch {
		case err == nil || line.number == 0:
			books = append(books, book) // NewOrder tells what is wrong with it
		case action == library.Return:
			refused = append(refused, refusal{line.number, line.name, "refused", err.Error()})
		default:
			return nil, nil, fmt.Errorf("line %d of standard input: %w", line.number, err)
		}
	}
	if len(books) == 0 && len(refused) > 0 {
		_, err := library.CleanName("user", user)
		return nil, refused, err
	}
	groups := [][]string{books}
	if len(books) > 0 && slices.Contains(names, "-") && action == library.Return {
		groups = slices.Collect(slices.Chunk(unique(books), library.BooksMax))
	}
	var orders []lending.Order
	for _, group := range groups {
		order, err := lending.NewOrder(action, user, group...)
		if err != nil {
			return nil, nil, cli.UsageError{Message: err.Error()}
		}
		orders = append(orders, order)
	}
	return orders, refused, setIDs(c, orders)
}

// setIDs gives several orders ids that belong together, and all the id on the command
// line, if there is one.
func setIDs(c *urfave.Context, orders []lending.Order) error {
	id := orders[0].ID
	if c.IsSet("id") {
		id = c.String("id")
	}
	for i := range orders {
		orders[i].ID = id
		if len(orders) > 1 {
			orders[i].ID = fmt.Sprintf("%s-%d", id, i+1)
		}
		if err := library.CheckID("id", orders[i].ID); err != nil {
			return err
		}
	}
	return nil
}

// unique leaves the first of equal names.
func unique(names []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(names, func(name string) bool {
		before := seen[name]
		seen[name] = true
		return before
	})
}

// readLines takes "-" among the names for the lines of standard input.
func readLines(c *urfave.Context, names []string) ([]line, error) {
	var lines []line
	read := false
	for _, name := range names {
		if name != "-" {
			lines = append(lines, line{name: name})
			continue
		}
		if read {
			return nil, cli.UsageError{Message: "- (standard input) can be read only once"}
		}
		read = true
		text, err := readInput(c)
		if err != nil {
			return nil, err
		}
		for i, name := range strings.Split(text, "\n") {
			// A mark of the byte order also begins what was appended to another file.
			name = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), "\ufeff"))
			if name != "" {
				lines = append(lines, line{i + 1, name})
			}
		}
	}
	if len(lines) > boxLinesMax {
		return nil, cli.UsageError{Message: fmt.Sprintf("standard input has %d lines; at most %d are read", len(lines), boxLinesMax)}
	}
	return lines, nil
}

// readInput reads standard input to its end, as a text of UTF-8 with line feeds,
// whatever system it was saved on. It stops when the program is told to stop.
func readInput(c *urfave.Context) (string, error) {
	if file, ok := c.App.Reader.(*os.File); ok && isatty.IsTerminal(file.Fd()) {
		fmt.Fprintln(os.Stderr, "reading books from the terminal, one a line; Ctrl-D ends the list, Ctrl-C gives up")
	}
	var text []byte
	read := make(chan error, 1)
	go func() {
		var err error
		// Where no mark tells the encoding, the bytes are left as they are.
		text, err = io.ReadAll(transform.NewReader(io.LimitReader(c.App.Reader, boxBytesMax+1), unicode.BOMOverride(transform.Nop)))
		read <- err
	}()
	select {
	case <-c.Context.Done():
		return "", &cli.ExitError{Code: cli.ExitBroken, Err: errors.New("interrupted; nothing was sent")}
	case err := <-read:
		if err != nil {
			return "", fmt.Errorf("read books from standard input: %w", err)
		}
	}
	if len(text) > boxBytesMax {
		return "", cli.UsageError{Message: fmt.Sprintf("standard input is too long; at most %d MiB are read", boxBytesMax>>20)}
	}
	// Some systems end a text with this.
	plain := strings.TrimRight(string(text), "\x1a")
	if strings.Contains(plain, "\x00") {
		return "", cli.UsageError{Message: "standard input is no text in UTF-8: it has zero bytes, as UTF-16 has; save it as UTF-8"}
	}
	return strings.ReplaceAll(strings.ReplaceAll(plain, "\r\n", "\n"), "\r", "\n"), nil
}
