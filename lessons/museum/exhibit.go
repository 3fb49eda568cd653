package museum

import (
	"context"
	"fmt"
	"io"
)

// An Exhibit is a mistake, and what one needs to see it.
type Exhibit struct {
	// Name is what it is called by; its file is called so, too. Title names the mistake.
	Name, Title string
	// What tells what people do, and why it looks right.
	What string
	// Seen is where it happened.
	Seen []Sighting
	// Predict is the question to answer before it runs.
	Predict string
	// Change is what is wrong in a script. Right and Wrong name the functions of the file
	// that differ, if what is wrong is written in Go. An exhibit may have both.
	Change       Change
	Right, Wrong string
	// Keep is the sentence to remember; Read is the place in the code that does it right.
	Keep, Read string

	play func(s *Stage, wrong bool)
}

// A Sighting is a public issue, and what happened there.
type Sighting struct {
	Issue string // owner/repository#number
	Told  string
}

// A Change replaces some lines of a script.
type Change struct{ Script, Right, Wrong string }

// Exhibits are all of them, in the order in which one should look at them.
var Exhibits = []Exhibit{
	pubsub, dollar, earlyAck, maxlen,
	twoCommands, checkThenLend, counter,
	newID, repeatingClient, bell,
	endlessLock, noFence, removedConsumer, poison,
	overtaking, clientClock,
}

// Find returns the exhibit of a name.
func Find(name string) (Exhibit, bool) {
	for _, exhibit := range Exhibits {
		if exhibit.Name == name {
			return exhibit, true
		}
	}
	return Exhibit{}, false
}

// Play tells an exhibit's story with the wrong lines or with the right ones, writes to w
// what happens, and returns what was wrong in the end. An error means that the story
// could not be told.
func (e Exhibit) Play(ctx context.Context, w io.Writer, wrong bool) (verdict *Verdict, err error) {
	s, err := open(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("set the stage for %s: %w", e.Name, err)
	}
	defer s.close()
	defer func() {
		switch reason := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("play %s: %w", e.Name, reason.error)
		default:
			panic(reason)
		}
	}()
	if wrong && e.Change.Script != "" {
		s.changes(e.Change)
	}
	e.play(s, wrong)
	return s.judge(), nil
}
