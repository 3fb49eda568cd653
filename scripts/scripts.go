// Package scripts holds the Lua scripts, one a state change. Each file's header
// tells its keys, arguments, answers and faults; a test compares the header with
// the code. Any of them can be tried by hand with redis-cli --eval.
package scripts

import (
	"embed"

	"github.com/redis/go-redis/v9"
)

//go:embed *.lua
var files embed.FS

// The scripts. Run them with Script.Run, outside a pipeline: it sends the source
// again when the server has forgotten the script.
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
	Prolong = load("prolong")
)

func load(name string) *redis.Script {
	source, err := files.ReadFile(name + ".lua")
	if err != nil {
		panic(err)
	}
	return redis.NewScript(string(source))
}
