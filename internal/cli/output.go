package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/charmbracelet/x/term"
	"github.com/urfave/cli/v2"
)

// An output is a program's standard output. All that a program prints as its answer
// goes through it, so that one place notices when an answer could not be written: the
// program then ends with ExitBroken, whatever its command returns. After the first
// error nothing more is written.
type output struct {
	to     io.Writer
	err    error
	remark string
}

func (o *output) Write(text []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.to.Write(text)
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	o.err = err
	return n, err
}

// failure is what the program must tell about an output that failed. That nobody reads
// it any more, as after head has seen enough, needs no word; unless there is more to say.
func (o *output) failure() error {
	if errors.Is(o.err, syscall.EPIPE) && o.remark == "" {
		return nil
	}
	err := fmt.Errorf("the answer cannot be written: %w", o.err)
	if o.remark != "" {
		err = fmt.Errorf("%w; %s", err, o.remark)
	}
	return err
}

// SeemsClosed reports whether what is printed may reach nobody though it is written.
func SeemsClosed(c *cli.Context) bool {
	o, ok := c.App.Writer.(*output)
	return ok && o.to == os.Stdout && looksClosed(os.Stdout)
}

// IfUnwritten sets what standard error tells if the answer cannot be written, such as
// an order's id.
func IfUnwritten(c *cli.Context, remark string) {
	if o, ok := c.App.Writer.(*output); ok {
		o.remark = remark
	}
}

// Live returns the width of the terminal that a program's output goes to. It is 0 where
// a line that is written over again would only disturb: in a file or a pipe, on a
// terminal that is too simple for it, or while another program has the foreground.
func Live(c *cli.Context) int {
	o, ok := c.App.Writer.(*output)
	if !ok || o.to != os.Stdout || os.Getenv("TERM") == "dumb" || !inForeground(os.Stdout) {
		return 0
	}
	width, _, err := term.GetSize(os.Stdout.Fd())
	if err != nil {
		return 0
	}
	return width
}
