package museum

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"example.com/library/scripts"

	"github.com/redis/go-redis/v9"
)

// faults are what strikes the commands of one instance. It is a hook of its client.
type faults struct {
	changed map[string]string // the scripts that are run in place of others, by these' hashes

	left   int    // after how many more commands strike is called
	strike func() // nil for none
	dead   bool

	mu  sync.Mutex
	cut string // the next command that has this word in it gets no reply
}

// dies has the instance be dead after so many more commands.
func (i *Instance) dies(commands int) {
	i.after(commands, func() {
		i.faults.dead = true
		i.says("%s dies", i.name)
	})
}

// pauses stops the instance after so many more commands, until something else is over.
func (i *Instance) pauses(commands int, meanwhile func()) {
	i.after(commands, func() {
		i.says("%s is paused", i.name)
		meanwhile()
		i.says("%s goes on", i.name)
	})
}

func (i *Instance) after(commands int, strike func()) {
	i.faults.left, i.faults.strike = commands, strike
	i.faults.strikes()
}

func (f *faults) strikes() {
	if strike := f.strike; strike != nil && f.left == 0 {
		f.strike = nil
		strike()
	}
}

// losesReply has the next command that has a word in it be done, and its reply be lost
// with the connection.
func (i *Instance) losesReply(word string) {
	i.faults.mu.Lock()
	defer i.faults.mu.Unlock()
	i.faults.cut = word
}

// changes has a script be run with other lines, by every instance.
func (s *Stage) changes(change Change) {
	text := scripts.Text(change.Script)
	if strings.Count(text, change.Right) != 1 {
		must(fmt.Errorf("%s has the lines to change %d times, not once:\n%s", change.Script, strings.Count(text, change.Right), change.Right))
	}
	s.changed[redis.NewScript(text).Hash()] = strings.Replace(text, change.Right, change.Wrong, 1)
}

// ProcessHook strikes single commands.
func (f *faults) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if f.dead {
			cmd.SetErr(errDead)
			return errDead
		}
		err := f.run(ctx, cmd, next)
		f.left--
		f.strikes()
		return err
	}
}

// run runs a command, or a changed script in its place.
func (f *faults) run(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
	if words := cmd.Args(); cmd.Name() == "evalsha" {
		if text, changed := f.changed[fmt.Sprint(words[1])]; changed {
			other := redis.NewCmd(ctx, append([]any{"eval", text}, words[2:]...)...)
			err := next(ctx, other)
			cmd.(*redis.Cmd).SetVal(other.Val())
			cmd.SetErr(err)
			return err
		}
	}
	return next(ctx, cmd)
}

// ProcessPipelineHook strikes a transaction or a pipeline as if it were one command.
func (f *faults) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if f.dead {
			return errDead
		}
		err := next(ctx, cmds)
		f.left--
		f.strikes()
		return err
	}
}

// DialHook changes nothing.
func (f *faults) DialHook(next redis.DialHook) redis.DialHook { return next }

// dial connects to the server.
func (f *faults) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return &cutConn{Conn: conn, faults: f}, err
}

// A cutConn loses the reply to a command and breaks.
type cutConn struct {
	net.Conn
	faults *faults
	cut    bool
}

func (c *cutConn) Write(command []byte) (int, error) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	if c.faults.cut != "" && strings.Contains(strings.ToLower(string(command)), c.faults.cut) {
		c.faults.cut, c.cut = "", true
	}
	return c.Conn.Write(command)
}

func (c *cutConn) Read(reply []byte) (int, error) {
	n, err := c.Conn.Read(reply) // the command is done when its reply is here
	if c.cut && err == nil {
		c.Conn.Close()
		return 0, io.EOF
	}
	return n, err
}
