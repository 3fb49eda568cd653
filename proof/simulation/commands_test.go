package simulation

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// sentBy are the methods of the client library by which the packages send commands,
// and how the labels of these commands begin.
var sentBy = map[string]string{
	"ConfigGet": "config", "Get": "get", "HExists": "hexists", "HGet": "hget", "HGetAll": "hgetall",
	"HLen": "hlen", "HMGet": "hmget", "MemoryUsage": "memory", "SCard": "scard", "SIsMember": "sismember", "Set": "set",
	"Subscribe": "subscribe", "Time": "time", "Wait": "wait", "XAdd": "xadd", "XGroupCreateConsumer": "xgroup createconsumer",
	"XGroupCreateMkStream": "xgroup create", "XInfoConsumers": "xinfo consumers", "XInfoGroups": "xinfo groups", "XInfoStream": "xinfo stream", "XLen": "xlen",
	"XPendingExt": "xpending", "XRange": "xrange", "XRangeN": "xrange", "XRead": "xread", "XReadGroup": "xreadgroup", "XRevRangeN": "xrevrange",
	"Pipelined": "", "TxPipelined": "exec",
	"Exists": "", "XRevRange": "", // looks at who serves, and at an order's life, which no scenario takes
	"Ping": "",                // a node of a Cluster; there is none here
	"Eval": "", "EvalSha": "", // scripts, which are looked for below
}

// notSent are methods that the client library has and others too, or that send nothing.
var notSent = []string{"AddHook", "Close", "Do", "Info", "Process", "String", "Watch"}

func TestEveryCommandThatThePackagesSendIsInTheListOfSweptCommands(t *testing.T) {
	isCommand := func(name string) bool {
		_, client := reflect.TypeFor[redis.UniversalClient]().MethodByName(name)
		_, conn := reflect.TypeFor[*redis.Conn]().MethodByName(name)
		return (client || conn) && !slices.Contains(notSent, name)
	}
	used := map[string]bool{}
	for _, folder := range []string{"events", "lending", "redisconn", "shelving", "worker"} {
		files, err := filepath.Glob(filepath.Join("..", "..", folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", folder, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(node ast.Node) bool {
				if call, ok := node.(*ast.CallExpr); ok {
					if method, ok := call.Fun.(*ast.SelectorExpr); ok {
						if isCommand(method.Sel.Name) {
							used[method.Sel.Name] = true
						}
					}
				}
				return true
			})
		}
	}
	for _, begins := range sentBy {
		if begins != "" && !slices.ContainsFunc(sweptCommands, func(label string) bool { return label == begins || strings.HasPrefix(label, begins+" ") }) {
			t.Errorf("%q is sent, and not in the list of swept commands", begins)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(sentBy)), slices.Sorted(maps.Keys(used))); diff != "" {
		t.Errorf("the packages send commands by other methods than listed (-list +sent):\n%s", diff)
	}
	// shed.lua is left out: the simulated server has no limit on its memory.
	scripts, err := filepath.Glob(filepath.Join("..", "..", "scripts", "*.lua"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		if name := strings.TrimSuffix(filepath.Base(script), ".lua"); name != "shed" && !slices.Contains(sweptCommands, "evalsha "+name) {
			t.Errorf("the script %s is not in the list of swept commands", name)
		}
	}
}
