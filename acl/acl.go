// Package acl says who may do what: it writes the rules by which Redis itself
// keeps each part of the library to what is its own.
//
// There is a user for each program or service that connects, and each
// may do exactly what its code does. A command is allowed if the user's own
// permissions or one of its selectors allow all of it: the command, every key it
// names, and every channel. A command inside a script is checked in the same way,
// against the user who runs the script, so running scripts gives nobody more than
// those commands would. To run one at all takes a selector of its own, with every
// key that the script is told of.
package acl

import (
	"fmt"
	"slices"
	"strings"

	"example.com/library/library"
)

// The users. The services' are called what the services are.
const (
	Getbooks = "getbooks"
	Lending  = library.Lending
	Shelving = library.Shelving
	Staff    = "staff"    // may read all
	Director = "director" // may set the library's terms
	Gateway  = "gateway"
)

// Users are all of them, in the order in which they are printed.
var Users = append(append([]string{Getbooks}, library.Services()...), Staff, Director, Gateway)

// A grant allows some commands, on some keys and channels. Keys are what follows
// the library's tag: ~ to read and write, %R~ to read, %W~ to write. A command that
// tells of a key without its content, such as XLEN, may be had with either.
type grant struct{ commands, keys, channels string }

// connecting is what a client needs to find the server and to stay with it. HELLO,
// by which it says who it is, is nobody's to forbid.
const connecting = "ping command cluster|slots asking"

// locking is what an instance needs to hold its name, and to see whether another does.
var locking = grant{commands: "exists get getrange set pexpire del", keys: "~instance:*"}

// reading is what a service needs to read its inboxes: in its group, as one of its
// instances, taking over what another left, and setting aside what cannot be applied.
const reading = "xadd xlen xrange xdel xtrim xack xclaim xpending xreadgroup xinfo|groups xinfo|consumers memory|usage" +
	" xgroup|create xgroup|createconsumer xgroup|delconsumer"

// readingTerms is what it takes to know the library's terms, termsInScripts to decide by
// them, and settingTerms to set them, see terms.lua.
var (
	readingTerms   = grant{commands: "hgetall", keys: "%R~terms %R~lending:terms"}
	termsInScripts = grant{commands: "hget", keys: "%R~terms"}
	settingTerms   = grant{commands: "hset hlen", keys: "~terms ~lending:terms"}
)

// asking is what whoever asks for books needs.
var asking = []grant{
	{commands: connecting + " multi exec subscribe time", channels: "lending:bell:*"},
	{commands: "xadd xlen xrange", keys: "~lending:requests ~lending:returns"},
	{commands: "hget", keys: "%R~lending:receipts %R~lending:receipts:older %R~lending:loans %R~lending:fetching %R~lending:card:*"},
	{commands: "hexists", keys: "%R~lending:receipts %R~lending:receipts:older %R~shelving:out:*"},
	{commands: "hmget", keys: "%R~lending:fetching"},
	{commands: "hgetall", keys: "%R~lending:card:*"},
	readingTerms,
	{commands: "sismember", keys: "%R~lending:front"},
	{commands: "xread xrevrange", keys: "%R~events"},
	// Whether anybody runs the service that it waits for.
	{commands: "xinfo|consumers", keys: "%R~lending:requests %R~shelving:fetches"},
	{commands: "exists", keys: "%R~instance:*"},
	// What is still to come of an order, see package explain.
	{commands: "xrange xpending", keys: "%R~lending:requests %R~lending:returns %R~lending:deliveries %R~shelving:fetches %R~shelving:stores"},
	{commands: "xrange", keys: "%R~lending:rejected %R~shelving:rejected"},
}

// looking is what staff need: to read all, and write nothing.
var looking = []grant{
	{commands: connecting + " multi exec time info scan"},
	{commands: "exists type get getrange strlen ttl pttl pexpiretime" +
		" hget hmget hgetall hexists hlen hstrlen hscan scard sismember smismember smembers sscan" +
		" xlen xrange xrevrange xread xpending xinfo|stream xinfo|groups xinfo|consumers", keys: "%R~*"},
}

// grants tell what each user may do. What takes no key is the user's own permission,
// and each of the others a selector.
var grants = map[string][]grant{
	Getbooks: asking,
	Lending: {
		{commands: connecting + " time info publish", channels: "lending:bell:*"},
		{commands: reading + " xrevrange exists get set unlink rename pexpire pttl hget hmget hset hdel hlen scard sadd srem sismember smismember srandmember", keys: "~lending:*"},
		{commands: "xadd xlen xgroup|create", keys: "%W~shelving:fetches %W~shelving:stores"},
		{commands: "xadd xlen xtrim", keys: "%W~events"},
		locking,
		readingTerms, termsInScripts, settingTerms,
		{commands: "eval evalsha", keys: "~lending:* ~shelving:fetches ~shelving:stores ~terms ~events ~instance:*"},
	},
	Shelving: {
		{commands: connecting},
		{commands: reading + " get incrby decrby hmget hset hdel hexists", keys: "~shelving:*"},
		{commands: "xadd xlen", keys: "%W~lending:deliveries"},
		{commands: "xgroup|create", keys: "%W~lending:requests %W~lending:returns %W~lending:deliveries"},
		{commands: "xadd xlen", keys: "%W~events"},
		locking,
		readingTerms, termsInScripts,
		{commands: "eval evalsha", keys: "~shelving:* ~lending:requests ~lending:returns ~lending:deliveries ~terms ~events ~instance:*"},
	},
	Staff: looking,
	Director: {
		{commands: connecting},
		readingTerms, termsInScripts, settingTerms,
		{commands: "xadd", keys: "%W~events"},
		{commands: "eval evalsha", keys: "~terms ~lending:terms ~events"},
	},
	Gateway: append(slices.Concat(asking, looking), grant{commands: "xadd", keys: "~gateway:samples"}),
}

// forReplicas is what getbooks needs besides for --wait-replicas, see prolong.lua.
// Who may move the end of the receipts may also move it to now.
var forReplicas = []grant{
	{commands: "wait"},
	{commands: "eval evalsha pexpiretime pexpireat", keys: "~lending:receipts ~lending:receipts:older"},
}

// Options say for what the rules are.
type Options struct {
	// Libraries are the names of the libraries that the users serve; at least one.
	Libraries []string
	// DB is the number of the database they are in. Default: 0.
	DB int
	// Replicas lets getbooks wait for replicas. Default: false.
	Replicas bool
}

// Rules are one user's, in the form that ACL SETUSER and an ACL file take after the
// user's name. They begin by taking away what the user had before, but for its
// passwords, of which they say nothing.
func Rules(user string, options Options) string {
	rules := []string{"on", "nocommands", "resetkeys", "resetchannels", "clearselectors"}
	if options.DB != 0 {
		rules = append(rules, fmt.Sprintf("+select|%d", options.DB))
	}
	granted := grants[user]
	if user == Getbooks && options.Replicas {
		granted = append(slices.Clone(granted), forReplicas...)
	}
	for _, grant := range granted {
		words := grant.rules(options.Libraries)
		if grant.keys == "" {
			rules = append(rules, words...)
		} else {
			rules = append(rules, "("+strings.Join(words, " ")+")")
		}
	}
	return strings.Join(rules, " ")
}

func (g grant) rules(libraries []string) []string {
	var words []string
	for command := range strings.FieldsSeq(g.commands) {
		words = append(words, "+"+command)
	}
	for _, name := range libraries {
		keys := library.Keys{Library: name}
		for pattern := range strings.FieldsSeq(g.keys) {
			may, suffix, _ := strings.Cut(pattern, "~")
			words = append(words, may+"~"+keys.Key(suffix))
		}
		for channel := range strings.FieldsSeq(g.channels) {
			words = append(words, "&"+keys.Key(channel))
		}
	}
	return words
}
