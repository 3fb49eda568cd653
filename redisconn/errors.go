package redisconn

import (
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"

	"example.com/library/library"
	"github.com/redis/go-redis/v9"
)

var (
	// ErrAddress is returned when a Redis address cannot be understood.
	ErrAddress = errors.New("not a usable Redis address")

	// ErrServerTooOld is returned by Inspect for a server older than 7.0.
	ErrServerTooOld = errors.New("the server is older than Redis 7.0")

	// ErrUnconfirmed is returned by Replicated when too few replicas have confirmed
	// in time.
	ErrUnconfirmed = errors.New("not confirmed by enough replicas")
)

// A mismatchError says that what answers at an address speaks something else than
// was expected. Trying again changes nothing.
type mismatchError struct{ text, remedy string }

func (e *mismatchError) Error() string { return e.text }

var (
	errNeedsTLS = &mismatchError{"the server speaks TLS and hung up on a client that does not", "say --ssl, or write rediss:// for redis://"}
	errNoTLS    = &mismatchError{"the server does not speak TLS", "leave --ssl out, or write redis:// for rediss://"}
)

// notRedis quotes what something else than a Redis said.
func notRedis(said []byte) *mismatchError {
	line, _, _ := strings.Cut(string(said[:min(len(said), 80)]), "\n")
	return &mismatchError{"what answers is no Redis, it says " + library.Printable(strings.TrimSpace(line)), "say where Redis is by --address"}
}

// isReply reports whether a byte can begin a reply of Redis.
func isReply(begin byte) bool { return strings.IndexByte("+-:$*_,#!=(%~|>", begin) >= 0 }

// A Kind says what can be done about an error from Redis.
type Kind int

const (
	// Unexpected is an error that names broken data or a broken program.
	Unexpected Kind = iota
	// Passing is an error that ends by itself: the server is loading, is full,
	// is busy, is away. Trying again later is right.
	Passing
	// Refused is an error that only an operator can end: a wrong password, a
	// missing permission, a server that is too old.
	Refused
	// Fenced is a script's answer to an instance that no longer holds its name.
	Fenced
	// NoGroup says that a stream or its group is gone.
	NoGroup
)

// codes are the first words of Redis's error replies
// (https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors).
var codes = map[string]Kind{
	"LOADING": Passing, "READONLY": Passing, "MISCONF": Passing, "OOM": Passing, "BUSY": Passing,
	"MASTERDOWN": Passing, "CLUSTERDOWN": Passing, "TRYAGAIN": Passing, "NOREPLICAS": Passing, "UNKILLABLE": Passing,

	"NOAUTH": Refused, "WRONGPASS": Refused, "NOPERM": Refused, "DENIED": Refused,

	// A client of a Cluster follows these; any other should be one.
	"MOVED": Refused, "ASK": Refused,

	"FENCED":  Fenced,
	"NOGROUP": NoGroup,

	// A blocked command was ended: the server became a replica, or somebody used CLIENT
	// UNBLOCK. See goneStream for the one case that is another.
	"UNBLOCKED": Passing,
}

// goneStream is what Redis 7.0 tells a reader that waits at a stream which is then
// deleted. Its successors say NOGROUP.
const goneStream = "UNBLOCKED the stream key no longer exists"

// embeddedFault is how the embedded server tells of a command that failed inside a
// script. Redis begins such an error with the command's own.
var embeddedFault = regexp.MustCompile(`^ERR Error compiling script \(new function\): \S*:\d+: (.*)`)

// noCluster begins a server's answer to a client that takes it for a Cluster's node,
// and noNodes is what go-redis says while the nodes it asked know no master.
const (
	noCluster = "ERR This instance has cluster support disabled"
	noNodes   = "redis: cluster has no nodes"
)

// unknownCommand is what a server says of a command that it does not have: by itself,
// inside a script, or to a script that asks for the permission to use it. A command can
// be taken away from it by rename-command.
var unknownCommand = regexp.MustCompile(`^ERR (unknown (sub)?command|Unknown (Redis )?command called from script|Invalid command passed to redis.acl_check_cmd)`)

// Replied is the error that Redis said, as an answer or before it hung up.
func Replied(err error) (message string, is bool) {
	var reply redis.Error
	var hangUp *HangUpError
	switch {
	case errors.As(err, &reply):
		return reply.Error(), true
	case errors.As(err, &hangUp) && hangUp.Said != "":
		return hangUp.Said, true
	}
	return "", false
}

// KindOf classifies an error that a Redis command returned. A script's error is
// classified by the command inside it that failed.
func KindOf(err error) Kind {
	kind := kindOf(err)
	var hangUp *HangUpError
	if kind == Unexpected && errors.As(err, &hangUp) {
		return Passing // a reason that nobody here has heard of; the end of a connection passes
	}
	return kind
}

func kindOf(err error) Kind {
	switch {
	case errors.Is(err, ErrServerTooOld), errors.Is(err, library.ErrTerms):
		return Refused
	case errors.Is(err, errMoving), errors.Is(err, ErrUnconfirmed):
		return Passing
	}
	if message, is := Replied(err); is {
		if inner := embeddedFault.FindStringSubmatch(message); inner != nil {
			message = inner[1]
		}
		code, _, _ := strings.Cut(message, " ")
		switch {
		case strings.HasPrefix(message, "ERR max number of clients"):
			return Passing
		case strings.HasPrefix(message, "ERR AUTH"), strings.HasPrefix(message, "ERR Client sent AUTH"), strings.HasPrefix(message, "ERR invalid password"),
			strings.HasPrefix(message, "ERR DB index"), strings.HasPrefix(message, "ERR SELECT"),
			strings.HasPrefix(message, noCluster), unknownCommand.MatchString(message):
			return Refused
		case isDenied(err):
			return Refused
		case strings.HasPrefix(message, goneStream):
			return NoGroup
		}
		return codes[code]
	}
	var mismatch *mismatchError
	if _, is := tlsRemedy(err); is || errors.As(err, &mismatch) {
		return Refused
	}
	var network net.Error
	var dial *net.OpError
	switch {
	case errors.As(err, &network), errors.As(err, &dial),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EPIPE),
		errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, context.DeadlineExceeded),
		err != nil && strings.Contains(err.Error(), noNodes):
		return Passing
	}
	return Unexpected
}

// isDenied reports whether Redis says that the user may not do this: by itself, or
// inside a script, as 7.2 and 7.0 say it.
func isDenied(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	message := reply.Error()
	return strings.HasPrefix(message, "NOPERM") ||
		strings.HasPrefix(message, "ERR ACL failure in script") || strings.HasPrefix(message, "ERR The user executing the script")
}

// Remedy says what a person can do about a Refused error.
func Remedy(err error) string {
	message, _ := Replied(err)
	if remedy, is := tlsRemedy(err); is {
		return remedy
	}
	var denied *PermissionError
	var mismatch *mismatchError
	switch {
	case errors.As(err, &mismatch):
		return mismatch.remedy
	case strings.HasPrefix(message, "DENIED"):
		return "protected mode lets in only programs on the server's own machine: set a password there (requirepass) and give it here by --password-file"
	case unknownCommand.MatchString(message):
		return "the library needs a command that this server does not have: leave it its name (rename-command), and connect to a Redis 7.0 or newer itself, not to a Sentinel or a proxy"
	case errors.Is(err, ErrServerTooOld):
		return "run Redis 7.0 or newer"
	case errors.Is(err, library.ErrTerms):
		return "nobody can lend by such terms; update this program, or set the term: lendingd terms --help"
	case errors.As(err, &denied) && denied.Script == "prolong.lua":
		return "give this user the rules that lendingd acl --replicas prints, or leave --wait-replicas out"
	case isDenied(err):
		return "give this user the rules that lendingd acl prints, or connect as another"
	case strings.HasPrefix(message, "ERR DB index"), strings.HasPrefix(message, "ERR SELECT"):
		return "choose a database the server has with --db"
	case strings.HasPrefix(message, "MOVED"), strings.HasPrefix(message, "ASK"):
		return "the server belongs to a Redis Cluster: say --cluster"
	case strings.HasPrefix(message, noCluster):
		return "the server belongs to no Redis Cluster: leave --cluster out"
	default:
		return "give the right password by --password-file, by --password-dir, or by the environment variable LENDING_PASSWORD"
	}
}
