package redisconn

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// deadline returns a context for the calls of one test.
var deadline = patience.Deadline

// connect is Connect for options that must be right.
func connect(t testing.TB, options Options) redis.UniversalClient {
	t.Helper()
	rdb, err := Connect(options)
	if err != nil {
		t.Fatalf("Connect(%+v): %v", options, err)
	}
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// A target is what an address comes down to.
type target struct {
	Network, Addr      string
	DB                 int
	Username, Password string
	TLS                bool
	ServerName         string
}

func targetOf(rdb redis.UniversalClient) target {
	config := rdb.(*redis.Client).Options()
	target := target{Network: config.Network, Addr: config.Addr, DB: config.DB, Username: config.Username, Password: config.Password}
	if config.TLSConfig != nil {
		target.TLS, target.ServerName = true, config.TLSConfig.ServerName
	}
	return target
}

func number(n int) *int { return &n }

func TestConnectUnderstandsEachFormOfAddress(t *testing.T) {
	for _, test := range []struct {
		options Options
		want    target
	}{
		{Options{}, target{Network: "tcp", Addr: "localhost:6379"}},
		{Options{Address: "redis://cellar"}, target{Network: "tcp", Addr: "cellar:6379"}},
		{Options{Address: "redis://cellar:6380/3"}, target{Network: "tcp", Addr: "cellar:6380", DB: 3}},
		{Options{Address: "redis://:sesame@cellar:6380"}, target{Network: "tcp", Addr: "cellar:6380", Password: "sesame"}},
		{Options{Address: "redis://ali:open%20sesame%40@cellar"}, target{Network: "tcp", Addr: "cellar:6379", Username: "ali", Password: "open sesame@"}},
		{Options{Address: "redis://[::1]:6380"}, target{Network: "tcp", Addr: "[::1]:6380"}},
		{Options{Address: "redis://[::1]"}, target{Network: "tcp", Addr: "[::1]:6379"}},
		{Options{Address: "rediss://cellar"}, target{Network: "tcp", Addr: "cellar:6379", TLS: true, ServerName: "cellar"}},
		{Options{Address: "rediss://ali:sesame@cellar:6390/1"}, target{
			Network: "tcp", Addr: "cellar:6390", DB: 1, Username: "ali", Password: "sesame", TLS: true, ServerName: "cellar",
		}},
		{Options{Address: "unix:///run/redis.sock"}, target{Network: "unix", Addr: "/run/redis.sock"}},
		{Options{Address: "unix:///run/redis.sock?db=2"}, target{Network: "unix", Addr: "/run/redis.sock", DB: 2}},
		{Options{Address: "unix://:sesame@/run/redis.sock"}, target{Network: "unix", Addr: "/run/redis.sock", Password: "sesame"}},
		{Options{Address: "cellar:6380"}, target{Network: "tcp", Addr: "cellar:6380"}},
		{Options{Address: "cellar"}, target{Network: "tcp", Addr: "cellar:6379"}},
		{Options{Address: "127.0.0.1:1"}, target{Network: "tcp", Addr: "127.0.0.1:1"}},
		{Options{Address: "127.0.0.1:65535"}, target{Network: "tcp", Addr: "127.0.0.1:65535"}},
		{Options{Address: ":6380"}, target{Network: "tcp", Addr: "localhost:6380"}},
		{Options{Address: "[::1]:6380"}, target{Network: "tcp", Addr: "[::1]:6380"}},
		{Options{Address: "[::1]"}, target{Network: "tcp", Addr: "[::1]:6379"}},
		{Options{Address: "::1"}, target{Network: "tcp", Addr: "[::1]:6379"}},
		{Options{Address: "/run/redis.sock"}, target{Network: "unix", Addr: "/run/redis.sock"}},
		{Options{Address: "./redis.sock"}, target{Network: "unix", Addr: "./redis.sock"}},
		{Options{Address: "run/redis.sock"}, target{Network: "unix", Addr: "run/redis.sock"}},

		{Options{Address: "redis://cellar/3", DB: number(0)}, target{Network: "tcp", Addr: "cellar:6379"}},
		{Options{Address: "redis://cellar/3", DB: number(7)}, target{Network: "tcp", Addr: "cellar:6379", DB: 7}},
		{Options{Address: "/run/redis.sock", DB: number(7)}, target{Network: "unix", Addr: "/run/redis.sock", DB: 7}},
		{Options{Address: "redis://:wrong@cellar", Password: "sesame"}, target{Network: "tcp", Addr: "cellar:6379", Password: "sesame"}},
		{Options{Address: "cellar", Password: "sesame"}, target{Network: "tcp", Addr: "cellar:6379", Password: "sesame"}},
		{Options{Address: "/run/redis.sock", Password: "sesame"}, target{Network: "unix", Addr: "/run/redis.sock", Password: "sesame"}},
		{Options{Address: "cellar:6380", TLS: true}, target{Network: "tcp", Addr: "cellar:6380", TLS: true, ServerName: "cellar"}},
		{Options{Address: "redis://[::1]:6380", TLS: true}, target{Network: "tcp", Addr: "[::1]:6380", TLS: true, ServerName: "::1"}},
		{Options{Address: "rediss://cellar", TLS: true}, target{Network: "tcp", Addr: "cellar:6379", TLS: true, ServerName: "cellar"}},
	} {
		rdb := connect(t, test.options)
		if diff := cmp.Diff(test.want, targetOf(rdb)); diff != "" {
			t.Errorf("Connect(%+v) (-want +got):\n%s", test.options, diff)
		}
		if config := rdb.(*redis.Client).Options().TLSConfig; config != nil && (config.MinVersion < tls.VersionTLS12 || config.InsecureSkipVerify) {
			t.Errorf("Connect(%+v) speaks TLS from version %#x and skips the check of the certificate: %v", test.options, config.MinVersion, config.InsecureSkipVerify)
		}
	}
}

func TestConnectRefusesWhatIsNoAddress(t *testing.T) {
	for _, options := range []Options{
		{Address: "http://cellar"},
		{Address: "redis:///0/1"},
		{Address: "redis://cellar/x"},
		{Address: "redis://cellar:port"},
		{Address: "redis://cellar:6379?colour=red"},
		{Address: "redis://cel lar"},
		{Address: "unix://"},
		{Address: "://"},
		{Address: "://cellar"},
		{Address: "cellar:0"},
		{Address: "cellar:65536"},
		{Address: "cellar:-1"},
		{Address: "cellar:port"},
		{Address: "cellar:"},
		{Address: "cel lar"},
		{Address: "cel\nlar:6379"},
		{Address: "cellar\x1b[2J"},
		{Address: " "},
		{Address: "ali:sesame@cellar:6379"},
		{Address: "cellar", DB: number(-1)},

		// Mistyped URLs, and half of one: no paths of sockets.
		{Address: "redis:/localhost"},
		{Address: "redis:/localhost:6379/0"},
		{Address: "rediss:/localhost"},
		{Address: "redis:localhost"},
		{Address: "redis//localhost:6379"},
		{Address: "redis/localhost:6379/0"},
		{Address: "//localhost:6379"},
		{Address: "http:/localhost"},
		{Address: "unix:/run/redis.sock"},
		{Address: "localhost:6379/0"},
		{Address: "localhost/0"},
	} {
		rdb, err := Connect(options)
		if !errors.Is(err, ErrAddress) {
			t.Errorf("Connect(%+v) = %v, %v, want an error that wraps ErrAddress", options, rdb, err)
		} else if plain := library.Plain(err.Error()); plain != err.Error() {
			t.Errorf("Connect(%+v) says %q, want %q", options, err.Error(), plain)
		}
	}
}

// broken are ways to get an address with a password wrong.
var broken = []string{
	":sesame@cellar",
	"sesame@cellar:6379",
	"ali:sesame@cellar:6379",
	"redis:sesame@cellar",
	"redis:/:sesame@cellar",
	"redis//:sesame@cellar",
	"redis//ali:sesame@cellar:6379/0",
	"redis;//:sesame@cellar",
	"http://:sesame@cellar",
	"Redis ://:sesame@cellar",
	"redis://:sesame@cellar:port",
	"redis://:sesame@cellar:99999999/x",
	"redis://:sesame@cellar/0/1",
	"redis://:sesame@cel lar",
	"redis://:sesame@[::1",
	"redis://:sesame@cellar?db=x",
	"redis://:sesame@cellar?colour=sesame",
	"redis://:sesame%@cellar",
	"redis://:sesame%zz@cellar",
	"redis://:ses/sesame@cellar",
	"redis://:1/sesame@cellar",
	"redis://:se#sesame@cellar",
	"redis://:1?sesame@cellar",
	"redis://:open sesame@cellar",
	"redis://:[sesame@cellar",
	"redis://:sesame\x00@cellar",
	"redis://:sesame\n@cellar",
	"unix://:sesame@",
	"unix://:sesame%@/run/redis.sock",
	"unix:/sesame@/run/redis.sock",
	"/sesame@/run/redis.sock",
}

func FuzzConnect(f *testing.F) {
	for _, address := range broken {
		before, after, _ := strings.Cut(address, "sesame")
		f.Add(before, after)
	}
	f.Add("redis://ali:", "@cellar:6379/0")
	f.Add("rediss://:", "@[::1]:6390?db=1")
	f.Add("redis://cellar?password=", "@")
	f.Add("redis://:a,b", "@cellar,attic")
	f.Add("redis://:%2C%40", "%20@cellar")
	f.Add("unix://ali:", "@/run/redis.sock")
	f.Fuzz(func(t *testing.T, before, after string) {
		scheme, _, isURL := strings.Cut(before, "://")
		if strings.Contains(before+after, "sesame") || !strings.Contains(after, "@") || isURL && scheme == "unix" && strings.Contains(before[len("unix://"):], "/") {
			t.Skip("sesame stands where no password can")
		}
		address := before + "sesame" + after
		for _, options := range []Options{
			{Address: address},
			{Address: address, TLS: true},
			{Addresses: SplitAddresses(address), Library: "main"},
			{Addresses: SplitAddresses("cellar," + address + ",attic:6379"), Library: "main"},
			{Addresses: SplitAddresses("cellar," + address), Cluster: true},
		} {
			rdb, err := Connect(options)
			if err != nil {
				if !errors.Is(err, ErrAddress) {
					t.Errorf("Connect(%+v) = %v, want an error that wraps ErrAddress", options, err)
				}
				if strings.Contains(err.Error(), "sesame") {
					t.Errorf("Connect(%+v) gives the password away: %q", options, err.Error())
				}
				if plain := library.Plain(err.Error()); plain != err.Error() {
					t.Errorf("Connect(%+v) says %q, want %q", options, err.Error(), plain)
				}
				continue
			}
			if where := Where(rdb); strings.Contains(where, "sesame") {
				t.Errorf("Where of a client for %+v gives the password away: %s", options, where)
			}
			rdb.Close()
		}
	})
}

func TestABrokenAddressNeverGivesItsPasswordAway(t *testing.T) {
	for _, address := range append(broken, "redis:sesame%40cellar:6379", "ali:sesame%40cellar") {
		rdb, err := Connect(Options{Address: address})
		if err == nil {
			rdb.Close()
			t.Errorf("Connect(%q) goes to %+v, want an error", address, targetOf(rdb))
			continue
		}
		if !errors.Is(err, ErrAddress) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("Connect(%q) = %v, want an error that wraps ErrAddress and not the password", address, err)
		}
	}
}

// A scheme that is none can be the part of an address where the password stands.
func TestAPasswordBeforeTheSchemeIsNotGivenAway(t *testing.T) {
	for _, address := range []string{
		"sesame@redis://cellar",
		"ali:sesame@redis://cellar:6379",
		"redis//:sesame://really@cellar",
		"sesame://",
	} {
		rdb, err := Connect(Options{Address: address})
		if err == nil {
			rdb.Close()
		}
		if !errors.Is(err, ErrAddress) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("Connect(%q) = %v, want an error that wraps ErrAddress and not the password", address, err)
		}
	}
}

// Whoever wrote one of these meant another place than what is left of it names.
func TestAnAddressOfWhichAPartWouldBeIgnoredIsRefused(t *testing.T) {
	for _, address := range []string{
		"redis://:12#sesame@cellar", // a password that holds a #
		"redis://cellar:6379#0",
		"redis://cellar:99999",
		"redis://cellar:0",
		"redis:open://@cellar",
		"unix://run/redis.sock", // a slash too few
		"unix://./redis.sock",
	} {
		rdb, err := Connect(Options{Address: address})
		if err == nil {
			rdb.Close()
			t.Errorf("Connect(%q) goes to %+v, want an error", address, targetOf(rdb))
		} else if !errors.Is(err, ErrAddress) {
			t.Errorf("Connect(%q) = %v, want an error that wraps ErrAddress", address, err)
		}
	}
}

func TestWhereHidesThePasswordAndLeadsBackToTheSamePlace(t *testing.T) {
	for _, test := range []struct {
		options Options
		want    string
	}{
		{Options{}, "redis://localhost:6379"},
		{Options{Address: "cellar"}, "redis://cellar:6379"},
		{Options{Address: "redis://ali:sesame@cellar:6380/3"}, "redis://cellar:6380/3"},
		{Options{Address: "cellar:6380", Password: "sesame", DB: number(4)}, "redis://cellar:6380/4"},
		{Options{Address: "rediss://:sesame@cellar"}, "rediss://cellar:6379"},
		{Options{Address: "cellar", TLS: true, DB: number(1)}, "rediss://cellar:6379/1"},
		{Options{Address: "[::1]:6380"}, "redis://[::1]:6380"},
		{Options{Address: "unix://ali:sesame@/run/redis.sock"}, "unix:///run/redis.sock"},
		{Options{Address: "/run/redis.sock", Password: "sesame"}, "unix:///run/redis.sock"},
		{Options{Address: "/run/my redis/50%.sock"}, "unix:///run/my%20redis/50%25.sock"},
		{Options{Address: "/run/redis?.sock"}, "unix:///run/redis%3F.sock"},
		{Options{Address: "/run/redis#.sock"}, "unix:///run/redis%23.sock"},
	} {
		rdb := connect(t, test.options)
		where := Where(rdb)
		if where != test.want {
			t.Errorf("Where of a client for %+v = %s, want %s", test.options, where, test.want)
		}
		want := targetOf(rdb)
		want.Username, want.Password = "", ""
		if diff := cmp.Diff(want, targetOf(connect(t, Options{Address: where}))); diff != "" {
			t.Errorf("Connect to %s, from %+v (-want +got):\n%s", where, test.options, diff)
		}
	}
}

func TestWhereLeadsBackToTheSameDatabaseOnASocket(t *testing.T) {
	rdb := connect(t, Options{Address: "/run/redis.sock", DB: number(2)})
	if diff := cmp.Diff(targetOf(rdb), targetOf(connect(t, Options{Address: Where(rdb)}))); diff != "" {
		t.Errorf("Connect to %s (-want +got):\n%s", Where(rdb), diff)
	}
}

func TestWhereLeadsBackToARelativeSocket(t *testing.T) {
	for _, address := range []string{"./redis.sock", "run/redis.sock", "../redis.sock"} {
		rdb := connect(t, Options{Address: address})
		if diff := cmp.Diff(targetOf(rdb), targetOf(connect(t, Options{Address: Where(rdb)}))); diff != "" {
			t.Errorf("Connect to %s (-want +got):\n%s", Where(rdb), diff)
		}
	}
}

func TestConnectReachesTheServerThatItsOptionsName(t *testing.T) {
	ctx := deadline(t)
	server := redistest.Start(t, "--requirepass", "sesame")
	for _, address := range []string{server.Path(), server.URL(), "unix://:wrong@" + server.Path()} {
		rdb := connect(t, Options{Address: address, Password: "sesame", DB: number(3)})
		if err := rdb.Set(ctx, "address", address, 0).Err(); err != nil {
			t.Fatalf("write by way of %s: %v", address, err)
		}
		if n, err := connect(t, Options{Address: server.Path(), Password: "sesame"}).DBSize(ctx).Result(); n != 0 || err != nil {
			t.Errorf("database 0 has %d keys, %v, want all in database 3", n, err)
		}
	}
	withoutPassword := connect(t, Options{Address: server.Path()})
	if err := withoutPassword.Ping(ctx).Err(); KindOf(err) != Refused {
		t.Errorf("without a password: %v, want one of kind Refused", err)
	}
	wrong := connect(t, Options{Address: server.Path(), Password: "open"})
	if err := wrong.Ping(ctx).Err(); KindOf(err) != Refused {
		t.Errorf("with a wrong password: %v, want one of kind Refused", err)
	}
	tooFar := connect(t, Options{Address: server.Path(), Password: "sesame", DB: number(99)})
	if err := tooFar.Ping(ctx).Err(); KindOf(err) != Refused {
		t.Errorf("database 99: %v, want one of kind Refused", err)
	}
}

func TestConnectReachesAnEmbeddedServerThatWantsAPassword(t *testing.T) {
	ctx := deadline(t)
	server := miniredis.RunT(t)
	server.RequireAuth("sesame")
	if err := connect(t, Options{Address: server.Addr(), Password: "sesame"}).Ping(ctx).Err(); err != nil {
		t.Errorf("with the password: %v", err)
	}
	if err := connect(t, Options{Address: server.Addr()}).Ping(ctx).Err(); KindOf(err) != Refused {
		t.Errorf("without the password: %v, want one of kind Refused", err)
	}
	if err := connect(t, Options{Address: server.Addr(), Password: "open"}).Ping(ctx).Err(); KindOf(err) != Refused {
		t.Errorf("with a wrong password: %v, want one of kind Refused", err)
	}
}

func TestAClientGreetsInTLSWhereItShould(t *testing.T) {
	ctx := deadline(t)
	for _, options := range []Options{{Address: "rediss://localhost:PORT"}, {Address: "localhost:PORT", TLS: true}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		greeted := make(chan string, 16)
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				_ = tls.Server(connection, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					greeted <- hello.ServerName
					return nil, errors.New("this is as far as it goes")
				}}).HandshakeContext(ctx)
				connection.Close()
			}
		}()
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		options.Address = strings.Replace(options.Address, "PORT", port, 1)
		if err := connect(t, options).Ping(ctx).Err(); err == nil {
			t.Errorf("Connect(%+v): the server did not shake hands, and the ping succeeded", options)
		}
		select {
		case name := <-greeted:
			if name != "localhost" {
				t.Errorf("Connect(%+v) asks for the certificate of %q, want localhost", options, name)
			}
		case <-ctx.Done():
			t.Fatalf("Connect(%+v) did not greet in TLS", options)
		}
	}
}

func TestAClientNeverRepeatsACommandByItself(t *testing.T) {
	ctx := deadline(t)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	rdb := connect(t, Options{Address: proxy.Addr()})
	proxy.DropReply(func(args []string) bool { return args[0] == "incr" })
	err := rdb.Incr(ctx, "asks").Err()
	if KindOf(err) != Passing {
		t.Errorf("a command whose reply was lost: %v, want an error of kind Passing", err)
	}
	if n, err := server.Client(t).Get(ctx, "asks").Int(); n != 1 || err != nil {
		t.Errorf("the command was executed %d times, %v, want once", n, err)
	}
}

// A fake server answers every command as answer says, in RESP2. An empty answer
// hangs up.
func fake(t *testing.T, answer func(args []string) string) (address string) {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	serve := func(connection net.Conn) {
		defer connection.Close()
		reader := bufio.NewReader(connection)
		for {
			args, err := readWords(reader)
			if err != nil {
				return
			}
			reply := answer(args)
			if _, err := io.WriteString(connection, reply); err != nil || reply == "" {
				return
			}
		}
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(connection)
		}
	}()
	return listener.Addr().String()
}

// readWords reads one command: an array of bulk strings.
func readWords(reader *bufio.Reader) ([]string, error) {
	count := func(sign string) (int, error) {
		line, err := reader.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), sign))
	}
	words, err := count("*")
	if err != nil {
		return nil, err
	}
	args := make([]string, words)
	for i := range args {
		length, err := count("$")
		if err != nil {
			return nil, err
		}
		word := make([]byte, length+2)
		if _, err := io.ReadFull(reader, word); err != nil {
			return nil, err
		}
		args[i] = string(word[:length])
	}
	return args, nil
}

// bulk writes an array of bulk strings.
func bulk(words ...string) string {
	text := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	return text
}

func TestInspectTellsWhatARealServerKeeps(t *testing.T) {
	ctx := deadline(t)
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--save", "3600 1",
		"--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
	got, err := Inspect(ctx, connect(t, Options{Address: server.Path()}), library.Keys{Library: "main"})
	if err != nil {
		t.Fatal(err)
	}
	if major, err := strconv.Atoi(strings.Split(got.Version, ".")[0]); err != nil || major < 7 {
		t.Errorf("version %q, want 7 or newer", got.Version)
	}
	got.Version = ""
	want := Server{
		Name: theServer(t, got), AppendOnly: "yes", Fsync: "always", Save: "3600 1", Eviction: "allkeys-lru", MemoryMax: strconv.Itoa(64 << 20),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("server (-want +got):\n%s", diff)
	}
	if got.Embedded() {
		t.Error("a real server passes for an embedded one")
	}
}

func TestInspectSpeaksTheProtocolThatTheAddressAsksFor(t *testing.T) {
	ctx := deadline(t)
	server := redistest.Start(t)
	for _, protocol := range []string{"2", "3"} {
		rdb := connect(t, Options{Address: server.URL() + "?protocol=" + protocol})
		got, err := Inspect(ctx, rdb, library.Keys{Library: "main"})
		if err != nil || got.Name != theServer(t, got) || got.AppendOnly != "no" {
			t.Errorf("in protocol %s: %+v, %v, want redis without appendonly", protocol, got, err)
		}
		if err := rdb.Ping(ctx).Err(); err != nil {
			t.Errorf("in protocol %s, after the inspection: %v", protocol, err)
		}
	}
}

func TestInspectKnowsAnEmbeddedServer(t *testing.T) {
	ctx := deadline(t)
	got, err := Inspect(ctx, connect(t, Options{Address: Where(redistest.Embedded(t))}), library.Keys{Library: "main"})
	if err != nil || !got.Embedded() {
		t.Errorf("Inspect = %+v, %v, want an embedded server", got, err)
	}
}

func TestInspectTakesAServerThatForbidsCONFIG(t *testing.T) {
	ctx := deadline(t)
	server := redistest.Start(t)
	if err := server.Client(t).Do(ctx, "ACL", "SETUSER", "ali", "on", ">sesame", "~*", "&*", "+@all", "-config").Err(); err != nil {
		t.Fatal(err)
	}
	got, err := Inspect(ctx, connect(t, Options{Address: "unix://ali:sesame@" + server.Path()}), library.Keys{Library: "main"})
	if err != nil {
		t.Fatal(err)
	}
	got.Version = ""
	if diff := cmp.Diff(Server{Name: theServer(t, got)}, got); diff != "" {
		t.Errorf("server (-want +got):\n%s", diff)
	}
}

func TestInspectRefusesAServerThatIsTooOld(t *testing.T) {
	hello := func(server, version string) string {
		return bulk("server", server, "version", version, "proto", "2", "id", "1", "mode", "standalone", "role", "master", "modules", "")
	}
	for _, test := range []struct {
		title, hello string
		old          bool
	}{
		{"Redis 5, which has no HELLO", "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n", true},
		{"Redis 6.2", hello("redis", "6.2.14"), true},
		{"Redis 7.0", hello("redis", "7.0.0"), false},
		{"Redis 10", hello("redis", "10.0.0"), false},
		{"Valkey 8", hello("valkey", "8.1.0"), false},
		{"a version that is no number", hello("redis", "unstable"), false},
	} {
		t.Run(test.title, func(t *testing.T) {
			ctx := deadline(t)
			rdb := connect(t, Options{Address: fake(t, func(args []string) string {
				switch args[0] {
				case "hello", "HELLO":
					return test.hello
				case "config":
					return "*0\r\n"
				}
				return "+OK\r\n"
			})})
			_, err := Inspect(ctx, rdb, library.Keys{Library: "main"})
			if errors.Is(err, ErrServerTooOld) != test.old || !test.old && err != nil {
				t.Errorf("Inspect = %v, want too old: %v", err, test.old)
			}
			if test.old && KindOf(err) != Refused {
				t.Errorf("KindOf(%v) = %v, want Refused", err, KindOf(err))
			}
		})
	}
}

func TestInspectReportsAConnectionThatFails(t *testing.T) {
	ctx := deadline(t)
	_, err := Inspect(ctx, connect(t, Options{Address: filepath.Join(t.TempDir(), "nobody.sock")}), library.Keys{Library: "main"})
	if KindOf(err) != Passing {
		t.Errorf("Inspect = %v, want an error of kind Passing", err)
	}
}

// theServer is the name by which the redis-server on the PATH may go: Valkey can be under that name.
func theServer(t *testing.T, got Server) string {
	t.Helper()
	if got.Name == "valkey" {
		return got.Name
	}
	return "redis"
}
