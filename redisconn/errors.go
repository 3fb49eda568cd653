package redisconn

import (
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"

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

	"NOAUTH": Refused, "WRONGPASS": Refused, "NOPERM": Refused,

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

// KindOf classifies an error that a Redis command returned. A script's error is
// classified by the command inside it that failed.
func KindOf(err error) Kind {
	switch {
	case errors.Is(err, ErrServerTooOld):
		return Refused
	case errors.Is(err, errMoving), errors.Is(err, ErrUnconfirmed):
		return Passing
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		message := reply.Error()
		if inner := embeddedFault.FindStringSubmatch(message); inner != nil {
			message = inner[1]
		}
		code, _, _ := strings.Cut(message, " ")
		switch {
		case strings.HasPrefix(message, "ERR max number of clients reached"):
			return Passing
		case strings.HasPrefix(message, "ERR AUTH") || strings.HasPrefix(message, "ERR invalid password"),
			strings.HasPrefix(message, "ERR DB index"), strings.HasPrefix(message, "ERR SELECT"),
			strings.HasPrefix(message, noCluster):
			return Refused
		case isDenied(err):
			return Refused
		case strings.HasPrefix(message, goneStream):
			return NoGroup
		}
		return codes[code]
	}
	if _, is := tlsRemedy(err); is {
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
	message := err.Error()
	var reply redis.Error
	if errors.As(err, &reply) {
		message = reply.Error()
	}
	if remedy, is := tlsRemedy(err); is {
		return remedy
	}
	var denied *PermissionError
	switch {
	case errors.Is(err, ErrServerTooOld):
		return "run Redis 7.0 or newer"
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
