package redisconn

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"example.com/library/scripts"

	"github.com/redis/go-redis/v9"
)

// A PermissionError says who may not do what. Redis tells of a missing permission
// in words that name neither the user nor the key.
type PermissionError struct {
	// User is the user of Redis that the program is connected as.
	User string
	// Command and Keys are what it tried, as far as that is known.
	Command string
	Keys    []string
	// Script is the file of the script it tried it in, or tried to run, or empty. File
	// is Script or a shared file that it uses, and Line is the line in it; they are empty
	// and 0 if the script was not begun.
	Script string
	File   string
	Line   int
	// Err is what Redis said.
	Err error
}

func (e *PermissionError) Error() string {
	const keysMax = 3
	text := fmt.Sprintf("user %q may not %s", e.User, e.Command)
	for _, key := range e.Keys[:min(len(e.Keys), keysMax)] {
		text += " " + key
	}
	if more := len(e.Keys) - keysMax; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	switch {
	case e.Script != "" && e.Line > 0 && e.File != e.Script:
		text += fmt.Sprintf(" (%s, by line %d of %s)", e.Script, e.Line, e.File)
	case e.Script != "" && e.Line > 0:
		text += fmt.Sprintf(" (%s, line %d)", e.Script, e.Line)
	case e.Script != "":
		text += fmt.Sprintf(" (%s)", e.Script)
	}
	return text + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *PermissionError) Unwrap() error { return e.Err }

// A permissionHook makes a PermissionError of an error that says so. Of a command that
// the server does not know it tells the name alone: Redis repeats what came with it,
// which may be a password.
type permissionHook struct{ user string }

func (p permissionHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (p permissionHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return p.explain(cmd, next(ctx, cmd)) }
}

func (p permissionHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range slices.Backward(cmds) {
			explained := p.explain(cmd, cmd.Err())
			cmd.SetErr(explained)
			// One command that is refused while a transaction is put together makes the
			// transaction fail, for a reason that says nothing. The first one is told.
			if isDenied(explained) && (isDenied(err) || redis.HasErrorPrefix(err, "EXECABORT")) {
				err = explained
			}
		}
		return err
	}
}

// A replyError is an error of Redis, told in part.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

// containers are commands that say in a second word what they do.
var containers = []string{"acl", "client", "cluster", "config", "script", "xgroup", "xinfo"}

var (
	scriptLine = regexp.MustCompile(`on @user_script:(\d+)`)
	// neededBy is what a script says that asks beforehand for all it may run.
	neededBy = regexp.MustCompile(`this Redis user may not run ([A-Z]+(?: GROUPS)?) (.*?) script: `)
)

func (p permissionHook) explain(cmd redis.Cmder, err error) error {
	if message, _ := Replied(err); unknownCommand.MatchString(message) {
		name, _, _ := strings.Cut(message, ", with args")
		return replyError(name)
	}
	if !isDenied(err) {
		return err
	}
	denied := &PermissionError{User: cmp.Or(p.user, "default"), Command: strings.ToUpper(cmd.Name()), Err: err}
	for i, arg := range cmd.Args() {
		if i == 1 && slices.Contains(containers, cmd.Name()) {
			denied.Command += " " + strings.ToUpper(fmt.Sprint(arg))
		}
		// A key begins with its library's tag.
		if key, ok := arg.(string); ok && strings.HasPrefix(key, "{") && strings.Contains(key, "}:") {
			denied.Keys = append(denied.Keys, key)
		}
	}
	if strings.HasPrefix(cmd.Name(), "eval") && len(cmd.Args()) > 1 {
		line := 0 // the script was not begun
		if found := scriptLine.FindStringSubmatch(err.Error()); found != nil {
			line, _ = strconv.Atoi(found[1])
		}
		place := scripts.Locate(fmt.Sprint(cmd.Args()[1]), line, denied.Keys)
		denied.Script, denied.File, denied.Line = place.Script, place.File, place.Line
		if place.Command != "" {
			denied.Command, denied.Keys = place.Command, nil
		}
		if place.Key != "" {
			denied.Keys = []string{place.Key}
		}
		if needed := neededBy.FindStringSubmatch(err.Error()); needed != nil {
			denied.Command, denied.Keys, denied.File, denied.Line = needed[1], needed[2:], "", 0
		}
	}
	return denied
}
