package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// A rawConn speaks Redis's own protocol over a socket, and does nothing else: what
// is measured with it is the socket and the server.
type rawConn struct {
	socket   net.Conn
	answers  *bufio.Reader
	commands []byte // kept for its room
}

func dialRaw(address string) (*rawConn, error) {
	socket, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &rawConn{socket: socket, answers: bufio.NewReader(socket)}, nil
}

func (c *rawConn) close() { _ = c.socket.Close() }

// call sends a command and waits for its answer.
func (c *rawConn) call(words ...string) (any, error) {
	if err := c.send(words...); err != nil {
		return nil, err
	}
	return c.receive()
}

func (c *rawConn) send(words ...string) error {
	c.commands = appendCommand(c.commands[:0], words...)
	_, err := c.socket.Write(c.commands)
	return err
}

// receive reads one answer: a string, an int64, nil, or a []any of these.
func (c *rawConn) receive() (any, error) {
	line, err := c.answers.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 {
		return nil, fmt.Errorf("an answer of %d bytes", len(line))
	}
	kind, text := line[0], string(line[1:len(line)-2])
	switch kind {
	case '+':
		return text, nil
	case '-':
		return nil, errors.New(text)
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == ':':
		return number, nil
	case number < 0:
		return nil, nil
	case kind == '$':
		value := make([]byte, number+2)
		if _, err := io.ReadFull(c.answers, value); err != nil {
			return nil, err
		}
		return string(value[:number]), nil
	case kind == '*':
		values := make([]any, number)
		for i := range values {
			if values[i], err = c.receive(); err != nil {
				return nil, err
			}
		}
		return values, nil
	}
	return nil, fmt.Errorf("an answer that begins with %q", kind)
}
