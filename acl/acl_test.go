package acl_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/library/acl"
	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"

	"github.com/redis/go-redis/v9"
)

const password = "pass"

// keys are one for each pattern of docs/reference.md, and some that are nobody's. A name
// without a tag belongs to the library main.
var keys = []string{
	"lending:requests", "lending:returns", "lending:deliveries", "lending:loans", "lending:card:user1", "lending:fetching",
	"lending:front", "lending:demand", "lending:demand:faded", "lending:clock", "lending:receipts", "lending:receipts:older",
	"lending:receipts:page", "lending:terms", "lending:rejected",
	"shelving:fetches", "shelving:stores", "shelving:out:48481", "shelving:away", "shelving:awaited", "shelving:rejected",
	"events", "terms", "instance:worker1", "gateway:samples",
	"other", "lending", "{north}:lending:requests", "{north}:lending:loans", "{north}:shelving:out:48481", "{north}:events", "{north}:instance:worker1",
	"{}lending:requests", "{}", "{other}",
}

// full is a key as Redis knows it. In the list above {}x is a key outside any library.
func full(key string) string {
	if rest, outside := strings.CutPrefix(key, "{}"); outside {
		return "main:" + rest
	}
	if strings.HasPrefix(key, "{") {
		return key
	}
	return "{main}:" + key
}

// keyed are commands on a key, for which K stands; {T} is a key that is nobody's.
var keyed = []string{
	"EXISTS K", "TYPE K", "TTL K", "PTTL K", "EXPIRETIME K", "PEXPIRETIME K", "DUMP K", "TOUCH K", "OBJECT ENCODING K", "MEMORY USAGE K",
	"DEL K", "UNLINK K", "EXPIRE K 100", "PEXPIRE K 100000", "EXPIREAT K 9999999999", "PEXPIREAT K 9999999999999", "PERSIST K", "MOVE K 1",
	"RENAME K {T}", "RENAME {T} K", "RENAME K {main}:lending:x", "RENAME {main}:lending:x K", "RENAMENX K {T}", "COPY K {T}", "COPY {T} K", "RESTORE K 0 x", "SORT K", "SORT K STORE {T}", "SORT {T} STORE K", "SORT_RO K", "WATCH K",
	"MIGRATE 127.0.0.1 1 K 0 1", "DEBUG OBJECT K",
	"GET K", "GETRANGE K 0 -1", "SUBSTR K 0 -1", "STRLEN K", "MGET K", "GETEX K", "GETDEL K", "GETSET K v", "SET K v", "SETNX K v", "SETEX K 100 v", "PSETEX K 100000 v",
	"MSET K v", "MSETNX K v", "APPEND K v", "SETRANGE K 0 v", "INCR K", "INCRBY K 1", "INCRBYFLOAT K 1", "DECR K", "DECRBY K 1",
	"GETBIT K 0", "SETBIT K 0 1", "BITCOUNT K", "BITOP NOT K {T}", "BITOP NOT {T} K", "LCS K {T}",
	"HGET K f", "HMGET K f", "HGETALL K", "HEXISTS K f", "HLEN K", "HSTRLEN K f", "HKEYS K", "HVALS K", "HSCAN K 0", "HRANDFIELD K",
	"HSET K f v", "HSETNX K f v", "HMSET K f v", "HDEL K f", "HINCRBY K f 1", "HINCRBYFLOAT K f 1",
	"SCARD K", "SISMEMBER K m", "SMISMEMBER K m", "SMEMBERS K", "SSCAN K 0", "SRANDMEMBER K", "SINTER K", "SUNION K", "SDIFF K", "SINTERCARD 1 K",
	"SADD K m", "SREM K m", "SPOP K", "SMOVE K {T} m", "SMOVE {T} K m", "SUNIONSTORE K {T}", "SUNIONSTORE {T} K",
	"XADD K * f v", "XADD K MAXLEN 0 * f v", "XLEN K", "XRANGE K - +", "XREVRANGE K + -", "XREAD STREAMS K 0", "XDEL K 1-1", "XTRIM K MAXLEN 0", "XSETID K 1-1",
	"XREADGROUP GROUP g c STREAMS K >", "XACK K g 1-1", "XCLAIM K g c 0 1-1", "XAUTOCLAIM K g c 0 0", "XPENDING K g",
	"XINFO STREAM K", "XINFO GROUPS K", "XINFO CONSUMERS K g",
	"XGROUP CREATE K g 0 MKSTREAM", "XGROUP SETID K g 0", "XGROUP DESTROY K g", "XGROUP CREATECONSUMER K g c", "XGROUP DELCONSUMER K g c",
	"LPUSH K v", "RPUSH K v", "LRANGE K 0 -1", "LPOP K", "ZADD K 1 m", "ZRANGE K 0 -1", "ZRANGESTORE K {T} 0 -1", "PFADD K v", "PFCOUNT K", "PFMERGE K {T}", "GEOADD K 1 1 m",
	"EVAL return(1) 1 K", "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 K", "EVAL_RO return(1) 1 K", "EVALSHA_RO e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 K", "FCALL f 1 K", "FCALL_RO f 1 K",
}

// keyless are commands that no key stands in the way of.
var keyless = []string{
	"PING", "TIME", "ECHO x", "COMMAND COUNT", "CLUSTER SLOTS", "ASKING", "MULTI", "EXEC", "DISCARD", "WAIT 0 1", "SCAN 0",
	"CLUSTER INFO", "CLUSTER NODES", "CLUSTER RESET", "CLUSTER FAILOVER", "READONLY", "READWRITE", "UNWATCH",
	"FLUSHALL", "FLUSHDB", "KEYS *", "RANDOMKEY", "DBSIZE", "SELECT 0", "SELECT 1", "SWAPDB 0 1",
	"CONFIG GET requirepass", "CONFIG SET maxmemory 0", "CONFIG REWRITE", "CONFIG RESETSTAT",
	"ACL WHOAMI", "ACL LIST", "ACL GETUSER lending", "ACL SETUSER getbooks +@all", "ACL DELUSER staff", "ACL LOG", "ACL SAVE", "ACL LOAD", "ACL DRYRUN lending PING",
	"SCRIPT FLUSH", "SCRIPT LOAD return(1)", "SCRIPT EXISTS x", "SCRIPT KILL", "FUNCTION LIST", "FUNCTION LOAD x", "FUNCTION FLUSH", "FUNCTION KILL",
	"EVAL return(1) 0", "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", "EVAL_RO return(1) 0", "FCALL f 0",
	"DEBUG SLEEP 0", "DEBUG JMAP", "SHUTDOWN NOSAVE", "SAVE", "BGSAVE", "BGREWRITEAOF", "LASTSAVE", "REPLICAOF NO ONE", "SLAVEOF NO ONE", "FAILOVER", "ROLE", "SYNC", "PSYNC ? -1", "REPLCONF ACK 0",
	"INFO", "MONITOR", "SLOWLOG GET", "SLOWLOG RESET", "LATENCY DOCTOR", "MEMORY STATS", "MEMORY PURGE", "MODULE LIST", "MODULE LOAD /x.so", "LOLWUT",
	"CLIENT LIST", "CLIENT ID", "CLIENT KILL 1.1.1.1:1", "CLIENT PAUSE 0", "CLIENT NO-EVICT on", "CLIENT TRACKING on", "CLIENT SETNAME x",
	"SUBSCRIBE {main}:lending:bell:x", "UNSUBSCRIBE {main}:lending:bell:x", "SUBSCRIBE {north}:lending:bell:x", "SUBSCRIBE bell", "SUBSCRIBE {main}:lending:requests",
	"PSUBSCRIBE {main}:lending:bell:*", "PSUBSCRIBE *", "SSUBSCRIBE {main}:lending:bell:x", "PUNSUBSCRIBE", "SUNSUBSCRIBE",
	"PUBLISH {main}:lending:bell:x ring", "PUBLISH {north}:lending:bell:x ring", "PUBLISH bell ring", "SPUBLISH {main}:lending:bell:x ring", "PUBSUB CHANNELS",
}

// allowed is everything that each user may do: a command, and the keys on which; no
// key for one that takes none. Everything else is refused. It is written down here
// once more, so that a permission that slips in is found.
var allowed = map[string][][2]string{
	"getbooks": {
		{"PING; COMMAND COUNT; CLUSTER SLOTS; ASKING; MULTI; EXEC; TIME", ""},
		{"SUBSCRIBE {main}:lending:bell:x", ""},
		{"XADD K * f v; XADD K MAXLEN 0 * f v; XLEN K; XRANGE K - +", "lending:requests lending:returns"},
		{"HGET K f", "lending:receipts lending:receipts:older lending:loans lending:fetching lending:card:user1"},
		{"HEXISTS K f", "lending:receipts lending:receipts:older shelving:out:48481"},
		{"HMGET K f", "lending:fetching"},
		{"HGETALL K", "lending:card:user1 terms lending:terms"},
		{"SISMEMBER K m", "lending:front"},
		{"XREAD STREAMS K 0; XREVRANGE K + -", "events"},
		{"XINFO CONSUMERS K g", "lending:requests shelving:fetches"},
		{"EXISTS K", "instance:worker1"},
		{"XRANGE K - +; XPENDING K g", "lending:requests lending:returns lending:deliveries shelving:fetches shelving:stores"},
		{"XRANGE K - +", "lending:rejected shelving:rejected"},
	},
	"getbooks with --replicas": {
		{"PING; COMMAND COUNT; CLUSTER SLOTS; ASKING; MULTI; EXEC; TIME; WAIT 0 1; EVAL return(1) 0; EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", ""},
		{"SUBSCRIBE {main}:lending:bell:x", ""},
		{"XADD K * f v; XADD K MAXLEN 0 * f v; XLEN K; XRANGE K - +", "lending:requests lending:returns"},
		{"HGET K f", "lending:receipts lending:receipts:older lending:loans lending:fetching lending:card:user1"},
		{"HEXISTS K f", "lending:receipts lending:receipts:older shelving:out:48481"},
		{"HMGET K f", "lending:fetching"},
		{"HGETALL K", "lending:card:user1 terms lending:terms"},
		{"SISMEMBER K m", "lending:front"},
		{"XREAD STREAMS K 0; XREVRANGE K + -", "events"},
		{"XINFO CONSUMERS K g", "lending:requests shelving:fetches"},
		{"EXISTS K", "instance:worker1"},
		{"XRANGE K - +; XPENDING K g", "lending:requests lending:returns lending:deliveries shelving:fetches shelving:stores"},
		{"XRANGE K - +", "lending:rejected shelving:rejected"},
		{"PEXPIRETIME K; PEXPIREAT K 9999999999999; EVAL return(1) 1 K; EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 K", "lending:receipts lending:receipts:older"},
	},
	"lending": {
		{"PING; COMMAND COUNT; CLUSTER SLOTS; ASKING; TIME; INFO; EVAL return(1) 0; EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", ""},
		{"PUBLISH {main}:lending:bell:x ring", ""},
		{"EXISTS K; GET K; SET K v; UNLINK K; PEXPIRE K 100000; PTTL K; HGET K f; HMGET K f; HSET K f v; HDEL K f; HLEN K", ownLending},
		{"SCARD K; SADD K m; SREM K m; SISMEMBER K m; SMISMEMBER K m; SRANDMEMBER K", ownLending},
		{"XADD K * f v; XADD K MAXLEN 0 * f v; XLEN K; XRANGE K - +; XDEL K 1-1; XTRIM K MAXLEN 0; XACK K g 1-1; XCLAIM K g c 0 1-1; XPENDING K g; XREVRANGE K + -", ownLending},
		{"XREADGROUP GROUP g c STREAMS K >; XINFO GROUPS K; XINFO CONSUMERS K g; MEMORY USAGE K", ownLending},
		{"XGROUP CREATE K g 0 MKSTREAM; XGROUP CREATECONSUMER K g c; XGROUP DELCONSUMER K g c", ownLending},
		{"RENAME K {main}:lending:x; RENAME {main}:lending:x K", ownLending},
		{"XADD K * f v; XADD K MAXLEN 0 * f v; XLEN K; XGROUP CREATE K g 0 MKSTREAM", "shelving:fetches shelving:stores"},
		{"XADD K * f v; XADD K MAXLEN 0 * f v; XLEN K; XTRIM K MAXLEN 0", "events"},
		{"HGET K f; HGETALL K; HSET K f v; HLEN K", "terms"},
		{"HGETALL K", "lending:terms"},
		{"EXISTS K; GET K; GETRANGE K 0 -1; SET K v; PEXPIRE K 100000; DEL K", "instance:worker1"},
		{"EVAL return(1) 1 K; EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 K", ownLending + " shelving:fetches shelving:stores terms events instance:worker1"},
	},
	"shelving": {
		{"PING; COMMAND COUNT; CLUSTER SLOTS; ASKING; EVAL return(1) 0; EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", ""},
		{"GET K; INCRBY K 1; DECRBY K 1; HMGET K f; HSET K f v; HDEL K f; HEXISTS K f", ownShelving},
		{"XADD K * f v; XADD K MAXLEN 0 * f v; XLEN K; XRANGE K - +; XDEL K 1-1; XTRIM K MAXLEN 0; XACK K g 1-1; XCLAIM K g c 0 1-1; XPENDING K g", ownShelving},
		{"XREADGROUP GROUP g c STREAMS K >; XINFO GROUPS K; XINFO CONSUMERS K g; MEMORY USAGE K", ownShelving},
		{"XGROUP CREATE K g 0 MKSTREAM; XGROUP CREATECONSUMER K g c; XGROUP DELCONSUMER K g c", ownShelving},
		{"XADD K * f v; XADD K MAXLEN 0 * f v; XLEN K", "lending:deliveries"},
		{"XGROUP CREATE K g 0 MKSTREAM", "lending:requests lending:returns lending:deliveries"},
		{"XADD K * f v; XADD K MAXLEN 0 * f v; XLEN K", "events"},
		{"HGET K f; HGETALL K", "terms"},
		{"HGETALL K", "lending:terms"},
		{"EXISTS K; GET K; GETRANGE K 0 -1; SET K v; PEXPIRE K 100000; DEL K", "instance:worker1"},
		{"EVAL return(1) 1 K; EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 K", ownShelving + " lending:requests lending:returns lending:deliveries terms events instance:worker1"},
	},
	"director": {
		{"PING; COMMAND COUNT; CLUSTER SLOTS; ASKING; EVAL return(1) 0; EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", ""},
		{"HGET K f; HGETALL K; HSET K f v; HLEN K", "terms"},
		{"HGETALL K; HSET K f v; HLEN K", "lending:terms"},
		{"XADD K * f v; XADD K MAXLEN 0 * f v", "events"},
		{"EVAL return(1) 1 K; EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 K", "terms lending:terms events"},
	},
	"staff": {
		{"PING; COMMAND COUNT; CLUSTER SLOTS; ASKING; TIME; INFO; MULTI; EXEC; SCAN 0", ""},
		{"EXISTS K; TYPE K; TTL K; PTTL K; PEXPIRETIME K; GET K; GETRANGE K 0 -1; STRLEN K", everything},
		{"HGET K f; HMGET K f; HGETALL K; HEXISTS K f; HLEN K; HSTRLEN K f; HSCAN K 0", everything},
		{"SCARD K; SISMEMBER K m; SMISMEMBER K m; SMEMBERS K; SSCAN K 0", everything},
		{"XLEN K; XRANGE K - +; XREVRANGE K + -; XREAD STREAMS K 0; XPENDING K g; XINFO STREAM K; XINFO GROUPS K; XINFO CONSUMERS K g", everything},
	},
	"gateway": {
		{"PING; COMMAND COUNT; CLUSTER SLOTS; ASKING; TIME; INFO; MULTI; EXEC; SCAN 0; SUBSCRIBE {main}:lending:bell:x", ""},
		{"EXISTS K; TYPE K; TTL K; PTTL K; PEXPIRETIME K; GET K; GETRANGE K 0 -1; STRLEN K", everything},
		{"HGET K f; HMGET K f; HGETALL K; HEXISTS K f; HLEN K; HSTRLEN K f; HSCAN K 0", everything},
		{"SCARD K; SISMEMBER K m; SMISMEMBER K m; SMEMBERS K; SSCAN K 0", everything},
		{"XLEN K; XRANGE K - +; XREVRANGE K + -; XREAD STREAMS K 0; XPENDING K g; XINFO STREAM K; XINFO GROUPS K; XINFO CONSUMERS K g", everything},
		{"XADD K * f v; XADD K MAXLEN 0 * f v", "lending:requests lending:returns gateway:samples"},
	},
	"default": {},
}

const (
	ownLending = "lending:requests lending:returns lending:deliveries lending:loans lending:card:user1 lending:fetching lending:front lending:demand" +
		" lending:demand:faded lending:clock lending:receipts lending:receipts:older lending:receipts:page lending:terms lending:rejected"
	ownShelving = "shelving:fetches shelving:stores shelving:out:48481 shelving:away shelving:awaited shelving:rejected"
	everything  = ownLending + " " + ownShelving + " events terms instance:worker1 gateway:samples other lending"
)

// may says whether a user may do a command on a key, or without one if key is "".
func may(user, command, key string) bool {
	return slices.ContainsFunc(allowed[user], func(line [2]string) bool {
		return slices.Contains(strings.Split(line[0], "; "), command) && (key == line[1] || key != "" && slices.Contains(strings.Fields(line[1]), key))
	})
}

// A guarded server has the users of one library, all with the same password.
type guarded struct {
	*redistest.Server
	operator *redis.Client // may do anything
}

func guard(t *testing.T, options acl.Options) guarded {
	t.Helper()
	// What a server forbids by its settings would hide what its users may do.
	server := redistest.Start(t, "--enable-debug-command", "yes", "--enable-module-command", "yes")
	operator := server.Client(t) // connected as default, which it stays
	for _, user := range acl.Users {
		rules := []any{"ACL", "SETUSER", user, ">" + password}
		for word := range strings.FieldsSeq(acl.Rules(user, options)) {
			rules = append(rules, word)
		}
		if err := operator.Do(t.Context(), rules...).Err(); err != nil {
			t.Fatalf("set the rules of %s: %v", user, err)
		}
	}
	return guarded{server, operator}
}

// as connects as one of the users.
func (g guarded) as(t *testing.T, user string) *redis.Client {
	t.Helper()
	options := *g.operator.Options()
	options.Username, options.Password = user, password
	rdb := redis.NewClient(&options)
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// alone sends a command over a connection of its own, for it may change what the
// connection is for, and returns the first line of the answer.
func (g guarded) alone(t *testing.T, user string, words ...string) string {
	t.Helper()
	connection, err := net.Dial("unix", g.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience.Long)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(connection)
	for _, command := range [][]string{{"AUTH", user, password}, words} {
		fmt.Fprintf(connection, "*%d\r\n", len(command))
		for _, word := range command {
			fmt.Fprintf(connection, "$%d\r\n%s\r\n", len(word), word)
		}
		line, err := answers.ReadString('\n')
		if err != nil {
			t.Fatalf("as %s, %q: %v", user, words, err)
		}
		if command[0] != "AUTH" || line != "+OK\r\n" {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// isRefused says whether Redis refused a command for want of a permission, and
// checks that nothing else was wrong with it, for then nothing would be known.
func isRefused(t *testing.T, answer string) bool {
	t.Helper()
	for _, mistake := range []string{"unknown command", "wrong number of arguments", "unknown subcommand", "syntax error"} {
		if strings.Contains(answer, mistake) {
			t.Errorf("the command is wrong: %s", answer)
		}
	}
	return regexp.MustCompile(`^-?(EXECABORT Transaction discarded because of: )?(NOPERM|ERR The user executing the script|ERR ACL failure in script)`).MatchString(answer)
}

// inside is a script that does a command and returns its error, if it has one.
const inside = `local reply = redis.pcall(unpack(ARGV)) return type(reply) == 'table' and reply.err or 'done'`

func TestEachUserMayDoWhatItNeedsAndNothingElse(t *testing.T) {
	for name := range allowed {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user, _, replicas := strings.Cut(name, " with ")
			server := guard(t, acl.Options{Libraries: []string{"main"}, Replicas: replicas})
			if user == "default" {
				// Who was connected before stays so.
				if err := server.operator.Do(t.Context(), "ACL", "SETUSER", "default", "off").Err(); err != nil {
					t.Fatal(err)
				}
				if got := server.alone(t, user, "PING"); !strings.HasPrefix(got, "-WRONGPASS") {
					t.Errorf("as default, which is off: %s", got)
				}
				return
			}
			rdb := server.as(t, user)
			count := 0
			check := func(command, key, direct, scripted string) {
				t.Helper()
				count++
				want := may(name, command, key)
				if refused := isRefused(t, direct); refused == want {
					t.Errorf("%s on %q: refused is %v, want %v (%s)", command, key, refused, !want, direct)
				}
				// Some commands are forbidden in any script, whoever runs it.
				if strings.Contains(scripted, "not allowed from script") || strings.Contains(scripted, "not allowed from a script") {
					return
				}
				inScripts := may(name, "EVAL return(1) 0", "")
				if refused := isRefused(t, scripted); refused == (want && inScripts) {
					t.Errorf("%s on %q inside a script: refused is %v, want %v (%s)", command, key, refused, !(want && inScripts), scripted)
				}
			}
			for _, command := range keyed {
				for _, key := range keys {
					words := []any{}
					for word := range strings.FieldsSeq(command) {
						switch word {
						case "K":
							word = full(key)
						case "{T}":
							word = "target"
						}
						words = append(words, word)
					}
					check(command, key, text(rdb.Do(t.Context(), words...)), text(rdb.Eval(t.Context(), inside, nil, words...)))
				}
			}
			for _, command := range keyless {
				words := strings.Fields(command)
				check(command, "", server.alone(t, user, words...), text(rdb.Eval(t.Context(), inside, nil, words)))
			}
			t.Logf("%d commands were tried, directly and inside a script", count)
		})
	}
}

// text is what a command answered, if it is an error or a text.
func text(cmd *redis.Cmd) string {
	if cmd.Err() != nil {
		return cmd.Err().Error()
	}
	return fmt.Sprint(cmd.Val())
}

// Whatever else this server knows is refused, on any key: commands that are not in the
// lists above, because nobody thought of them or because the server is newer.
func TestACommandThatNobodyThoughtOfIsRefused(t *testing.T) {
	server := guard(t, acl.Options{Libraries: []string{"main"}, Replicas: true})
	ctx := t.Context()
	tried := map[string]bool{}
	for _, command := range append(slices.Clone(keyed), keyless...) {
		words := strings.Fields(strings.ToLower(command))
		tried[words[0]] = true
		if len(words) > 1 {
			tried[words[0]+"|"+words[1]] = true
		}
	}
	replies, err := server.operator.Do(ctx, "COMMAND").Slice()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	var visit func(reply any)
	visit = func(reply any) {
		facts := reply.([]any)
		name, arity := facts[0].(string), facts[1].(int64)
		below := facts[9].([]any)
		for _, sub := range below {
			visit(sub)
		}
		// Redis lets everybody say who it is, and go; and all may learn what commands
		// there are.
		if len(below) > 0 || tried[name] || strings.HasPrefix(name, "command|") || strings.Contains(fmt.Sprint(facts[2]), "no_auth") {
			return
		}
		words := []any{}
		for word := range strings.SplitSeq(name, "|") {
			words = append(words, word)
		}
		for int64(len(words)) < max(arity, -arity) {
			words = append(words, "{main}:lending:requests")
		}
		for _, user := range acl.Users {
			count++
			got, err := server.operator.Do(ctx, append([]any{"ACL", "DRYRUN", user}, words...)...).Text()
			if err != nil || !strings.Contains(got, "has no permissions to run the '"+name+"' command") {
				t.Errorf("as %s, %v: %q, %v, want a refusal", user, words, got, err)
			}
		}
	}
	for _, reply := range replies {
		visit(reply)
	}
	if count == 0 {
		t.Error("the server knows no command that was not tried")
	}
	t.Logf("%d times a command was refused that nobody thought of", count)
}

// A key that is added to the reference must be added here.
func TestEveryKeyOfTheReferenceIsTried(t *testing.T) {
	reference, err := os.ReadFile("../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z:<>]+)` \\| (STREAM|HASH|STRING|SET|LIST|ZSET) ").FindAllStringSubmatch(string(reference), -1)
	if len(rows) < 20 {
		t.Fatalf("docs/reference.md has %d keys", len(rows))
	}
	for _, row := range rows {
		pattern := regexp.MustCompile("^" + regexp.MustCompile("<[a-z]+>").ReplaceAllString(row[1], "[a-z0-9]+") + "$")
		if !slices.ContainsFunc(keys, pattern.MatchString) {
			t.Errorf("no key like %s is tried", row[1])
		}
	}
}

func TestTheRulesAreForTheLibrariesAndTheDatabaseThatAreNamed(t *testing.T) {
	server := guard(t, acl.Options{Libraries: []string{"main", "north"}, DB: 3})
	for command, want := range map[string]bool{
		"HGET {main}:lending:loans geb": true, "HGET {north}:lending:loans geb": true, "HGET {south}:lending:loans geb": false,
		"SUBSCRIBE {north}:lending:bell:x": true, "SUBSCRIBE {south}:lending:bell:x": false,
		"SELECT 3": true, "SELECT 1": false,
	} {
		if got := server.alone(t, acl.Getbooks, strings.Fields(command)...); isRefused(t, got) == want {
			t.Errorf("%s: %s", command, got)
		}
	}

	// Rules that are set again replace what was there before, and leave the password.
	rules := []any{"ACL", "SETUSER", acl.Getbooks}
	for word := range strings.FieldsSeq(acl.Rules(acl.Getbooks, acl.Options{Libraries: []string{"main"}})) {
		rules = append(rules, word)
	}
	if err := server.operator.Do(context.Background(), rules...).Err(); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]bool{"HGET {main}:lending:loans geb": true, "HGET {north}:lending:loans geb": false, "SELECT 3": false} {
		if got := server.alone(t, acl.Getbooks, strings.Fields(command)...); isRefused(t, got) == want {
			t.Errorf("after the rules were set again, %s: %s", command, got)
		}
	}
}
