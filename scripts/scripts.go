// Package scripts holds the Lua scripts, one for each state change.
//
// What several of them need is in shared/, in files that only declare functions. A script's
// header names the files that it uses. Redis is given these and then the script, one after
// the other, as one text, and nothing else is done to it. So a shell can do the same:
//
//	cat scripts/shared/{step,lock}.lua scripts/retire.lua | redis-cli --eval /dev/stdin KEY… , ARG…
//
// Only where a full server refuses it, a script is run again with one line before it, see
// Regardless.
//
// Each header tells a script's keys, arguments, replies and faults; tests compare it with
// the code.
package scripts

import (
	"embed"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed *.lua shared/*.lua
var sources embed.FS

// The scripts. Run them with Script.Run, outside a pipeline: it sends the text again
// when the server has forgotten the script.
var (
	Lend    = load("lend")
	Return  = load("return")
	Fetch   = load("fetch")
	Store   = load("store")
	Deliver = load("deliver")
	Reject  = load("reject")
	Claim   = load("claim")
	Retire  = load("retire")
	Retry   = load("retry")
	Drop    = load("drop")
	Prolong = load("prolong")
	Shed    = load("shed")
	Terms   = load("terms")
)

// Regardless is the first line under which Redis runs a script though its memory is full.
// Without it a full server refuses a script's first write, if that adds something.
const Regardless = "#!lua flags=allow-oom\n"

// A source is a script's file, and how many lines stand before it in what Redis is given.
type source struct {
	file   string
	before int
}

// sourceOf is each script's source by its text and by its hash: EVAL is given the one,
// EVALSHA the other.
var sourceOf = map[string]source{}

func load(name string) *redis.Script {
	file := name + ".lua"
	for before, text := range []string{Text(file), Regardless + Text(file)} {
		of := source{file, before}
		sourceOf[text], sourceOf[redis.NewScript(text).Hash()] = of, of
	}
	return redis.NewScript(Text(file))
}

// Text is what Redis is given for a script.
func Text(file string) string {
	var text strings.Builder
	for _, part := range Files(file) {
		text.WriteString(read(part))
	}
	return text.String()
}

var usesLine = regexp.MustCompile(`(?m)^-- Uses (.+)$`)

// Files are the files that a script's text is made of, in their order. The script's own
// is the last.
func Files(file string) []string {
	var all []string
	if uses := usesLine.FindStringSubmatch(read(file)); uses != nil {
		for shared := range strings.SplitSeq(uses[1], ", ") {
			all = append(all, "shared/"+shared)
		}
	}
	return append(all, file)
}

func read(file string) string {
	text, err := sources.ReadFile(file)
	if err != nil {
		panic(err) // the tests load every script
	}
	return string(text)
}
