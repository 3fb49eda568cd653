package cmd_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"
)

// operator is a line of an ACL file for who administers the server of a test.
const operator = "user operator on >secret ~* &* +@all"

// asOperator says how to reach a server as its operator.
func asOperator(address string) redisconn.Options {
	return redisconn.Options{Address: address, User: "operator", Password: "secret"}
}

// rules are what lendingd acl prints.
func rules(t testing.TB, args ...string) string {
	t.Helper()
	command := exec.Command("lendingd", append([]string{"acl"}, args...)...)
	var told strings.Builder
	command.Stderr = &told
	text, err := command.Output()
	if err != nil {
		t.Fatalf("lendingd acl %q: %v: %s", args, err, told.String())
	}
	return string(text)
}

// guard starts a server that knows nobody but the users of lendingd acl and its
// operator, from its very start, and returns the directory of their passwords.
func guard(t testing.TB, args ...string) (server *redistest.Server, passwords string) {
	t.Helper()
	passwords = filepath.Join(t.TempDir(), "passwords")
	file := filepath.Join(t.TempDir(), "users.acl")
	text := rules(t, append([]string{"--aclfile", "--password-dir", passwords}, args...)...) + operator + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return redistest.Start(t, "--aclfile", file), passwords
}

// The stories are told once more, with each program as its own user. Left out are,
// besides those in which no real server takes part:
//
//	password         has users of its own
//	server-warnings  a service may not ask how the server is set up
//	rebuild          writes what belongs to both services, as an operator
func TestStoriesWithAUserForEachProgram(t *testing.T) {
	t.Parallel()
	files := stories(t, "password", "server-warnings", "rebuild")
	tell(t, "redis users", files, func(s *story, env *testscript.Env) redisconn.Options {
		server, passwords := guard(s, "--replicas", "--library", "main,north,south,east,west,second")
		env.Setenv("SOCKET", server.Path())
		s.env = []string{"LENDING_PASSWORD_DIR=" + passwords}
		s.Cleanup(func() { wantNobodyRefused(s, server) })
		return asOperator(server.URL())
	})
}

// wantNobodyRefused checks that Redis had to refuse nobody anything: a program that is
// refused something and goes on without it would not be noticed else. To ask how the
// server is set up is all that a service tries in vain.
func wantNobodyRefused(t testing.TB, server *redistest.Server) {
	t.Helper()
	rdb, err := redisconn.Connect(asOperator(server.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	entries, err := rdb.Do(context.Background(), "ACL", "LOG", 1000).Slice()
	if err != nil {
		t.Error(err)
	}
	for _, entry := range entries {
		facts := entry.(map[any]any)
		if facts["object"] != "config|get" {
			t.Errorf("%v was refused %v, %s: %v", facts["username"], facts["object"], facts["reason"], facts["client-info"])
		}
	}
}

// What lendingd acl prints can be sent by redis-cli as it is, and again when rules change.
func TestTheRulesCanBeSentByRedisCli(t *testing.T) {
	t.Parallel()
	client, err := exec.LookPath("redis-cli")
	if err != nil {
		t.Skip("no redis-cli here")
	}
	server := redistest.Start(t)
	if err := server.Client(t).Do(t.Context(), "ACL", "SETUSER", "operator", "on", ">secret", "~*", "&*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	passwords := filepath.Join(t.TempDir(), "passwords")
	send := func(text string) {
		t.Helper()
		command := exec.Command(client, "-s", server.Path(), "--user", "operator", "--pass", "secret", "--no-auth-warning")
		command.Stdin = strings.NewReader(text)
		output, err := command.CombinedOutput()
		if want := strings.Repeat("OK\n", strings.Count(text, "\n")); err != nil || string(output) != want {
			t.Fatalf("redis-cli: %v, it printed:\n%s", err, output)
		}
	}
	send(rules(t, "--password-dir", passwords))
	for _, user := range []string{"getbooks", "lending", "shelving", "staff", "director", "gateway"} {
		info, err := os.Stat(filepath.Join(passwords, user))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the password of %s: %v, %v, want a file that only its owner may read", user, info, err)
		}
	}

	env := []string{"LENDING_ADDRESS=" + server.URL(), "LENDING_TIMEOUT=1m"}
	get(t, env, 1, "card", "user1") // the user default is off
	env = append(env, "LENDING_PASSWORD_DIR="+passwords)
	worker := programtest.Start(t, env, "lendingd", "worker1")
	if err := worker.Await("serving"); err != nil {
		t.Fatal(err)
	}
	get(t, env, 0, "request", "user1", "geb")
	get(t, env, 1, "request", "user1", "dune", "--library", "north")

	// A library more, with the same passwords and nobody cut off; then without a word on
	// passwords, which stay.
	send(rules(t, "--password-dir", passwords, "--library", "main,north"))
	get(t, env, 0, "request", "user1", "dune", "--library", "main")
	get(t, env, 5, "request", "user1", "dune", "--library", "north", "--timeout", "3s")
	send(rules(t, "--library", "main"))
	get(t, env, 0, "return", "user1", "geb")
	get(t, env, 1, "request", "user1", "dune", "--library", "north")
	if strings.Contains(worker.Output(), "WARN Redis") || strings.Contains(worker.Output(), "ERRO") {
		t.Errorf("the worker is in trouble:\n%s", worker.Output())
	}
}

// Who has less than it needs ends, and says who may not do what.
func TestAMissingPermissionIsNamed(t *testing.T) {
	t.Parallel()
	server, passwords := guard(t)
	rdb, err := redisconn.Connect(asOperator(server.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	env := []string{"LENDING_ADDRESS=" + server.URL(), "LENDING_PASSWORD_DIR=" + passwords}
	set := func(words ...any) {
		t.Helper()
		if err := rdb.Do(t.Context(), append([]any{"ACL", "SETUSER"}, words...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	again := func(user string) {
		t.Helper()
		for line := range strings.Lines(rules(t)) {
			if words := strings.Fields(line); words[2] == user {
				args := []any{}
				for _, word := range words[2:] {
					args = append(args, word)
				}
				set(args...)
			}
		}
	}
	remedy := "; give this user the rules that lendingd acl prints, or connect as another\n"

	// A single command, one in a transaction, one in a pipeline.
	for _, test := range []struct{ args, want string }{
		{"request user1 geb", `getbooks: send the request: user "getbooks" may not XADD {main}:lending:requests: NOPERM `},
		{"book geb", `getbooks: look up the book: user "getbooks" may not HGET {main}:lending:loans: NOPERM `},
		{"receipt x", `getbooks: look up receipt x: user "getbooks" may not HGET {main}:lending:receipts: NOPERM `},
		{"watch", `getbooks: read the log: user "getbooks" may not XREVRANGE {main}:events: NOPERM `},
	} {
		set("getbooks", "clearselectors")
		output := get(t, env, 1, strings.Fields(test.args)...)
		if !strings.HasPrefix(output, test.want) || !strings.HasSuffix(output, remedy) {
			t.Errorf("getbooks %s printed %q, want %q… and what to do", test.args, output, test.want)
		}
	}
	again("getbooks")
	get(t, env, 0, "book", "geb")
	if output := get(t, env, 1, "book", "geb", "--password-dir", t.TempDir()); !strings.Contains(output, "read the password: ") {
		t.Errorf("without a password getbooks printed %q", output)
	}

	// Inside a script: the file, the command and its key.
	for _, test := range []struct {
		user string
		less []any
		want string
	}{
		{"lending", []any{"clearselectors", "(~{main}:lending:* +@all)", "(~{main}:instance:* +@all)", "(~{main}:terms +@all)", "(~{main}:shelving:* +xgroup|create)", "(~* +eval +evalsha)"},
			`user "lending" may not XADD {main}:shelving:fetches (lend.lua): `},
		{"shelving", []any{"clearselectors", "(~{main}:shelving:* +@all)", "(~{main}:instance:* +@all)", "(~{main}:lending:* +xgroup|create +xlen)", "(~{main}:events +xlen +xadd)", "(~* +eval +evalsha)"},
			`user "shelving" may not XADD {main}:lending:deliveries (fetch.lua): `},
	} {
		name := "lacks-" + test.user
		worker := programtest.Start(t, env, "lendingd", name)
		if err := worker.Await("serving"); err != nil {
			t.Fatal(err)
		}
		set(append([]any{test.user}, test.less...)...)
		get(t, env, 0, "request", "user1", "book-"+name, "--no-wait")
		if code, err := worker.Wait(); code != 1 || err != nil {
			t.Errorf("the worker ended with code %d, %v", code, err)
		}
		if output := worker.Output(); !strings.Contains(output, test.want) || !strings.HasSuffix(output, remedy) {
			t.Errorf("the worker printed\n%s\nwant %q and what to do", output, test.want)
		}
		again(test.user)
		rdb.FlushAll(t.Context())
	}
}

// On a Cluster each node has the same users.
func TestAClusterHasAUserForEachProgram(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 2, false)
	passwords := filepath.Join(t.TempDir(), "passwords")
	var names [2]string
	for i := 0; names[0] == "" || names[1] == ""; i++ {
		name := fmt.Sprintf("branch-%d", i)
		names[c.Owner(t, library.Keys{Library: name}.Events())] = name
	}
	lines := rules(t, "--password-dir", passwords, "--library", strings.Join(names[:], ","))
	var operators []*redis.Client
	for _, master := range c.Masters {
		rdb := master.Client(t)
		if err := rdb.Do(t.Context(), "ACL", "SETUSER", "operator", "on", ">secret", "~*", "&*", "+@all").Err(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(lines) {
			var words []any
			for word := range strings.FieldsSeq(line) {
				words = append(words, word)
			}
			// The connection stays, though the last line turns its user off.
			if err := rdb.Do(t.Context(), words...).Err(); err != nil {
				t.Fatal(err)
			}
		}
		operators = append(operators, rdb)
	}
	env := []string{"LENDING_ADDRESS=" + c.Addresses()[0], "LENDING_CLUSTER=true", "LENDING_PASSWORD_DIR=" + passwords, "LENDING_TIMEOUT=1m"}
	worker := programtest.Start(t, append(slices.Clip(env), "LENDING_LIBRARY="+strings.Join(names[:], ",")), "lendingd", "worker1")
	for _, name := range names {
		if err := worker.Await("serving library=" + name); err != nil {
			t.Fatal(err)
		}
		in := append(slices.Clip(env), "LENDING_LIBRARY="+name)
		get(t, in, 0, "request", "user1", "geb", "dune")
		get(t, in, 0, "return", "user1", "geb")
		get(t, in, 0, "card", "user1")
		get(t, in, 0, "book", "dune", "--staff")
	}
	status := programtest.Start(t, append(slices.Clip(env), "LENDING_LIBRARY="+strings.Join(names[:], ",")), "lendingd", "status")
	if code, err := status.Wait(); code != 0 || err != nil {
		t.Errorf("status ended with code %d, %v:\n%s", code, err, status.Output())
	}

	// A slot that moves sends clients from node to node.
	moveAs(t, c, operators, 0, names[0], "AUTH2", "operator", "secret")
	in := append(slices.Clip(env), "LENDING_LIBRARY="+names[0])
	get(t, in, 0, "return", "user1", "dune")
	if strings.Contains(worker.Output(), "ERRO") {
		t.Errorf("the worker is in trouble:\n%s", worker.Output())
	}
}
