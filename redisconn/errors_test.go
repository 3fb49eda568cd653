package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/scripts"

	"github.com/redis/go-redis/v9"
)

func (k Kind) String() string {
	return [...]string{"Unexpected", "Passing", "Refused", "Fenced", "NoGroup"}[k]
}

// Each reply travels through the client, which gives some codes types of its own.
func TestEachErrorReplyIsOfItsKind(t *testing.T) {
	ctx := deadline(t)
	var reply string
	rdb := connect(t, Options{Address: fake(t, func(args []string) string {
		switch args[0] {
		case "hello":
			return "-ERR unknown command `hello`\r\n"
		case "get":
			return "-" + reply + "\r\n"
		}
		return "+OK\r\n"
	})})
	for _, test := range []struct {
		reply string
		want  Kind
	}{
		{"LOADING Redis is loading the dataset in memory", Passing},
		{"READONLY You can't write against a read only replica.", Passing},
		{"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", Passing},
		{"OOM command not allowed when used memory > 'maxmemory'.", Passing},
		{"OOM command not allowed when used memory > 'maxmemory'. script: 6c5e, on @user_script:3.", Passing},
		{"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", Passing},
		{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Passing},
		{"CLUSTERDOWN The cluster is down", Passing},
		{"TRYAGAIN Multiple keys request during rehashing of slot", Passing},
		{"NOREPLICAS Not enough good replicas to write.", Passing},
		{"UNKILLABLE Sorry the script already executed write commands against the dataset.", Passing},
		{"ERR max number of clients reached", Passing},

		{"NOAUTH Authentication required.", Refused},
		{"WRONGPASS invalid username-password pair or user is disabled.", Refused},
		{"NOPERM this user has no permissions to run the 'get' command", Refused},
		{"ERR AUTH <password> called without any password configured for the default user.", Refused},
		{"ERR invalid password", Refused},
		{"ERR DB index is out of range", Refused},
		{"ERR SELECT is not allowed in cluster mode", Refused},
		{"ERR ACL failure in script: this user has no permissions to run the 'set' command", Refused},
		// Redis 7.0 says it in other words than its successors.
		{"ERR The user executing the script can't run this command or subcommand script: d8f2, on @user_script:1.", Refused},
		{"ERR The user executing the script can't access at least one of the keys mentioned in the command arguments script: d8f2, on @user_script:1.", Refused},
		{"ERR The user executing the script can't publish to the channel mentioned in the command script: d8f2, on @user_script:1.", Refused},

		{"MOVED 1234 127.0.0.1:7002", Refused}, // to a client that knows of no Cluster
		{"ASK 1234 127.0.0.1:7002", Refused},
		{"ERR This instance has cluster support disabled", Refused},

		{"FENCED the instance no longer holds its name", Fenced},
		{"NOGROUP No such key 'x' or consumer group 'y'", NoGroup},
		{"UNBLOCKED the stream key no longer exists", NoGroup},
		{"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)", Passing},
		{"UNBLOCKED client unblocked via CLIENT UNBLOCK", Passing},

		{"ERR wrong number of arguments for 'get' command", Unexpected},
		{"WRONGTYPE Operation against a key holding the wrong kind of value", Unexpected},
		{"NOSCRIPT No matching script. Please use EVAL.", Unexpected},
		{"EXECABORT Transaction discarded because of previous errors.", Unexpected},
		{"BUSYGROUP Consumer Group name already exists", Unexpected},
		{"ERR unknown command 'get', with args beginning with: 'key' ", Refused},
		{"ERR unknown subcommand 'groups'. Try XINFO HELP.", Refused},
		{"ERR Unknown Redis command called from script script: 80a1, on @user_script:2.", Refused},
		{"ERR Unknown command called from script script: 80a1, on @user_script:2.", Refused},
		{"ERR Invalid command passed to redis.acl_check_cmd() script: ef3c, on @user_script:74.", Refused},
		{"ERR max number of clients + cluster connections reached", Passing},
		{"DENIED Redis is running in protected mode because protected mode is enabled", Refused},
		{"ERR Client sent AUTH, but no password is set", Refused},
		{"ERR syntax error", Unexpected},
		{"ERR the disk is LOADING", Unexpected},
		{"LOADINGS of anything", Unexpected},
		{"fenced in lower case", Unexpected},
	} {
		reply = test.reply
		err := rdb.Get(ctx, "key").Err()
		if got := KindOf(err); got != test.want {
			t.Errorf("KindOf(%q) = %v, want %v", err, got, test.want)
		}
		wrapped := fmt.Errorf("lend %q: %w", "geb", err)
		if got := KindOf(wrapped); got != test.want {
			t.Errorf("KindOf(%q) = %v, want %v", wrapped, got, test.want)
		}
		if got := KindOf(errors.Join(errors.New("first"), err)); got != test.want {
			t.Errorf("KindOf of a joined %q = %v, want %v", err, got, test.want)
		}
	}
}

// timeout is a net.Error.
type timeout struct{ error }

func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

func TestEachErrorOfAConnectionIsOfItsKind(t *testing.T) {
	for _, test := range []struct {
		err  error
		want Kind
	}{
		{nil, Unexpected},
		{errors.New("some other"), Unexpected},
		{redis.Nil, Unexpected},
		{redis.ErrClosed, Unexpected},
		{context.Canceled, Unexpected},
		{os.ErrNotExist, Unexpected},
		{library.ErrName, Unexpected},
		{fmt.Errorf("%w: it is redis 6.2.14", ErrServerTooOld), Refused},

		{clusterError(reply("MOVED 1234 127.0.0.1:7002")), Passing},
		{clusterError(reply("ASK 1234 127.0.0.1:7002")), Passing},
		{clusterError(reply("WRONGTYPE Operation against a key holding the wrong kind of value")), Unexpected},
		{clusterError(redis.Nil), Unexpected},
		{errors.New("redis: cluster has no nodes"), Passing},
		{fmt.Errorf("%w: by 0, not 1", ErrUnconfirmed), Passing},
		{context.DeadlineExceeded, Passing},
		{redis.ErrPoolTimeout, Passing},
		{io.EOF, Passing},
		{io.ErrUnexpectedEOF, Passing},
		{net.ErrClosed, Passing},
		{syscall.ECONNREFUSED, Passing},
		{syscall.EPIPE, Passing},
		{syscall.ECONNRESET, Passing},
		{timeout{errors.New("i/o timeout")}, Passing},
		{&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route")}, Passing},
		{&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.ENOENT)}, Passing},
		{&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, Passing},
		{&net.DNSError{Err: "no such host", Name: "cellar"}, Passing},
	} {
		if got := KindOf(test.err); got != test.want {
			t.Errorf("KindOf(%v) = %v, want %v", test.err, got, test.want)
		}
		if test.err == nil {
			continue
		}
		if got := KindOf(fmt.Errorf("look: %w", test.err)); got != test.want {
			t.Errorf("KindOf of a wrapped %v = %v, want %v", test.err, got, test.want)
		}
	}
}

func TestWhatAClientMeetsOnARealConnectionPasses(t *testing.T) {
	ctx := deadline(t)
	server := redistest.Start(t)

	hangsUp := connect(t, Options{Address: fake(t, func(args []string) string {
		switch args[0] {
		case "hello":
			return "-ERR unknown command `hello`\r\n"
		case "get":
			return ""
		}
		return "+OK\r\n"
	})})
	if err := hangsUp.Get(ctx, "key").Err(); KindOf(err) != Passing {
		t.Errorf("a server that hangs up: %v, of kind %v, want Passing", err, KindOf(err))
	}

	nobody := connect(t, Options{Address: filepath.Join(t.TempDir(), "nobody.sock")})
	if err := nobody.Ping(ctx).Err(); KindOf(err) != Passing {
		t.Errorf("a socket that is missing: %v, of kind %v, want Passing", err, KindOf(err))
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := connect(t, Options{Address: listener.Addr().String()})
	listener.Close()
	if err := closed.Ping(ctx).Err(); KindOf(err) != Passing {
		t.Errorf("a port where nobody listens: %v, of kind %v, want Passing", err, KindOf(err))
	}

	rdb := connect(t, Options{Address: server.Path()})
	if err := rdb.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	server.Pause(t)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := rdb.Ping(short).Err(); KindOf(err) != Passing {
		t.Errorf("a server that stands still: %v, of kind %v, want Passing", err, KindOf(err))
	}
	server.Resume(t)

	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := rdb.Ping(over).Err(); KindOf(err) != Unexpected {
		t.Errorf("a call that was given up: %v, of kind %v, want Unexpected", err, KindOf(err))
	}
}

func TestWhatAScriptMeetsIsOfTheKindOfTheCommandInside(t *testing.T) {
	ctx := deadline(t)
	server := redistest.Start(t)
	rdb := connect(t, Options{Address: server.Path()})
	write := func(rdb redis.UniversalClient) error {
		return rdb.Eval(ctx, "return redis.call('SET', KEYS[1], ARGV[1])", []string{"key"}, "value").Err()
	}

	if err := rdb.Do(ctx, "ACL", "SETUSER", "ali", "on", ">sesame", "~*", "&*", "+@all", "-set").Err(); err != nil {
		t.Fatal(err)
	}
	ali := connect(t, Options{Address: "unix://ali:sesame@" + server.Path()})
	if err := write(ali); KindOf(err) != Refused {
		t.Errorf("a script without the permission to write: %v, of kind %v, want Refused", err, KindOf(err))
	}

	err := rdb.Eval(ctx, "return redis.call('XPENDING', KEYS[1], 'lending')", []string{"nothing"}).Err()
	if KindOf(err) != NoGroup {
		t.Errorf("a script that misses a group: %v, of kind %v, want NoGroup", err, KindOf(err))
	}
	err = scripts.Lend.Run(ctx, rdb, make([]string, 11), "a token", "worker1").Err()
	if KindOf(err) != Fenced {
		t.Errorf("a script that is fenced off: %v, of kind %v, want Fenced", err, KindOf(err))
	}

	if err := rdb.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := write(rdb); KindOf(err) != Passing {
		t.Errorf("a script on a full server: %v, of kind %v, want Passing", err, KindOf(err))
	}
}

// blocked waits until so many clients of a server are blocked, and returns their ids.
func blocked(t *testing.T, ctx context.Context, rdb *redis.Client, count int) []int64 {
	t.Helper()
	for ctx.Err() == nil {
		var ids []int64
		for line := range strings.Lines(rdb.ClientList(ctx).Val()) {
			var id int64
			_, flags, _ := strings.Cut(line, " flags=")
			flags, _, _ = strings.Cut(flags, " ")
			if _, err := fmt.Sscanf(line, "id=%d ", &id); err == nil && strings.Contains(flags, "b") {
				ids = append(ids, id)
			}
		}
		if len(ids) == count {
			return ids
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%d clients were never blocked at once", count)
	return nil
}

// Each command here that can block, and each way in which a server ends it.
func TestABlockedCommandThatIsEndedIsOfTheRightKind(t *testing.T) {
	for name, test := range map[string]struct {
		end         func(ctx context.Context, rdb *redis.Client, ids []int64) error
		read, group Kind // of XREAD and WAIT, and of XREADGROUP
	}{
		"the server becomes a replica": {
			func(ctx context.Context, rdb *redis.Client, _ []int64) error {
				return rdb.ReplicaOf(ctx, "127.0.0.1", "1").Err()
			}, Passing, Passing,
		},
		"CLIENT UNBLOCK": {
			func(ctx context.Context, rdb *redis.Client, ids []int64) error {
				for _, id := range ids {
					if err := rdb.ClientUnblockWithError(ctx, id).Err(); err != nil {
						return err
					}
				}
				return nil
			}, Passing, Passing,
		},
		"CLIENT KILL": {
			func(ctx context.Context, rdb *redis.Client, ids []int64) error {
				for _, id := range ids {
					if err := rdb.ClientKillByFilter(ctx, "ID", fmt.Sprint(id)).Err(); err != nil {
						return err
					}
				}
				return nil
			}, Passing, Passing,
		},
		// XREAD and WAIT go on, and are ended for the test to end.
		"the stream is deleted": {
			func(ctx context.Context, rdb *redis.Client, ids []int64) error {
				if err := rdb.Del(ctx, "stream").Err(); err != nil {
					return err
				}
				for _, id := range ids {
					if err := rdb.ClientUnblockWithError(ctx, id).Err(); err != nil {
						return err
					}
				}
				return nil
			}, Passing, NoGroup,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			server := redistest.Start(t)
			direct := server.Client(t)
			if err := direct.XGroupCreateMkStream(ctx, "stream", library.Lending, "$").Err(); err != nil {
				t.Fatal(err)
			}
			rdb := server.Client(t) // which waits for as long as a command blocks
			commands := map[string]struct {
				run  func() error
				want Kind
			}{
				"XREADGROUP": {func() error {
					return rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: library.Lending, Consumer: "worker1", Streams: []string{"stream", ">"}, Block: patience.Long}).Err()
				}, test.group},
				"XREAD": {func() error {
					return rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{"stream", "$"}, Block: patience.Long}).Err()
				}, test.read},
				"WAIT": {func() error { return rdb.Wait(ctx, 1, patience.Long).Err() }, test.read},
			}
			errs := make(map[string]chan error)
			for command, it := range commands {
				done := make(chan error, 1)
				errs[command] = done
				go func() { done <- it.run() }()
			}
			if err := test.end(ctx, direct, blocked(t, ctx, direct, len(commands))); err != nil {
				t.Fatal(err)
			}
			for command, it := range commands {
				if err := <-errs[command]; err == nil || KindOf(err) != it.want {
					t.Errorf("%s: %v, of kind %v, want %v", command, err, KindOf(err), it.want)
				}
			}
		})
	}
}

// Redis repeats what came with a command that it does not know, such as AUTH.
func TestAPasswordIsNotRepeated(t *testing.T) {
	ctx := deadline(t)
	for _, renamed := range [][]string{{"--rename-command", "AUTH", ""}, {"--rename-command", "HELLO", "", "--rename-command", "AUTH", ""}} {
		server := redistest.Start(t, append(renamed, "--requirepass", "sesame")...)
		err := connect(t, Options{Address: server.Path(), Password: "open,sesame"}).Ping(ctx).Err()
		if KindOf(err) != Refused || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%v: %v, of kind %v, want it Refused without the password", renamed, err, KindOf(err))
		}
	}
}

func TestAnEmbeddedServersScriptsFailWithTheSameKinds(t *testing.T) {
	ctx := deadline(t)
	rdb := redistest.Embedded(t)
	err := rdb.Eval(ctx, "return redis.call('XPENDING', KEYS[1], 'lending')", []string{"nothing"}).Err()
	if KindOf(err) != NoGroup {
		t.Errorf("a script that misses a group: %v, of kind %v, want NoGroup", err, KindOf(err))
	}
	err = scripts.Lend.Run(ctx, rdb, make([]string, 11), "a token", "worker1").Err()
	if KindOf(err) != Fenced {
		t.Errorf("a script that is fenced off: %v, of kind %v, want Fenced", err, KindOf(err))
	}
}

// reply is an error reply of Redis.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func TestEachRefusalHasARemedy(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("%w: it is redis 6.2.14", ErrServerTooOld), "7.0"},
		{reply("NOPERM this user has no permissions to run the 'xadd' command"), "lendingd acl prints"},
		{reply("ERR ACL failure in script: this user has no permissions to run the 'xadd' command"), "lendingd acl prints"},
		{reply("ERR The user executing the script can't run this command or subcommand script: d8f2, on @user_script:1."), "lendingd acl prints"},
		{&PermissionError{User: "getbooks", Command: "EVALSHA", Script: "prolong.lua", Err: reply("NOPERM this user has no permissions to run the 'evalsha' command")}, "lendingd acl --replicas"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "--ssl-ca"},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, "renew"},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: "cellar"}}, "a name that is in its certificate"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, "asks who this is"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: unknown certificate authority")}, "does not accept"},
		{reply("DENIED Redis is running in protected mode because protected mode is enabled"), "requirepass"},
		{reply("ERR unknown command 'xadd'"), "rename-command"},
		{errNeedsTLS, "say --ssl"},
		{errNoTLS, "leave --ssl out"},
		{notRedis([]byte("HTTP/1.1 400 Bad Request")), "--address"},
		{reply("ERR DB index is out of range"), "--db"},
		{reply("ERR SELECT is not allowed in cluster mode"), "--db"},
		{reply("MOVED 1234 127.0.0.1:7002"), "say --cluster"},
		{reply("ASK 1234 127.0.0.1:7002"), "say --cluster"},
		{reply("ERR This instance has cluster support disabled"), "leave --cluster out"},
		{reply("NOAUTH Authentication required."), "--password-file"},
		{reply("WRONGPASS invalid username-password pair or user is disabled."), "--password-file"},
		{reply("ERR AUTH <password> called without any password configured"), "--password-file"},
	} {
		if KindOf(test.err) != Refused {
			t.Fatalf("KindOf(%v) = %v, want Refused", test.err, KindOf(test.err))
		}
		for _, err := range []error{test.err, fmt.Errorf("prepare the streams: %w", test.err)} {
			if got := Remedy(err); !strings.Contains(got, test.want) {
				t.Errorf("Remedy(%q) = %q, want a word on %s", err, got, test.want)
			}
		}
	}
}
