package redisconn

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"example.com/library/library"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// DefaultAddress is where Redis is looked for when nothing else is said.
const DefaultAddress = "redis://localhost:6379"

// Options say how to reach the Redis that has a library.
type Options struct {
	// Address is a redis://, rediss:// or unix:// URL, a host:port, a host, or the
	// path of a Unix socket. Default: DefaultAddress.
	Address string
	// Addresses are several, in place of Address. Without Cluster each is a server of
	// its own, and the library stands on the one that its name chooses.
	Addresses []string
	// Cluster says that the addresses are nodes of one Redis Cluster. Default: false.
	Cluster bool
	// Library is the library's name. It matters only where there are several
	// addresses and no Cluster.
	Library string
	// DB is the number of the database; it overrides the URL's. Default: the URL's, or 0.
	DB *int
	// User is the user of Redis to connect as; it overrides the URL's. Default: the
	// URL's, or the server's default user.
	User string
	// Password overrides the URL's. Default: the URL's, or none.
	Password string
	// TLS makes the connection encrypted whatever the address says. Default: false.
	TLS bool
	// Certificates are what the server is known by, and this program to it. They need
	// TLS, or an address that says it.
	Certificates Certificates
	// ReplyMax is how many bytes a reply may have, or the replies to one pipeline. A
	// larger one is a LargeReplyError. A client that subscribes must not have it, for
	// it is told things without asking. Default: 0, no bound.
	ReplyMax int64
}

// Connect makes a client for one library; it does not dial yet. Its error wraps
// ErrAddress and holds neither the password nor the part of the address it may
// stand in.
//
// The client never repeats a command by itself, but for a look-up, see patienceHook.
// go-redis would do so when a reply was lost, and so append an entry twice; whoever
// repeats here has an id that makes the repeat harmless. What the node of a Cluster
// sends elsewhere is no repeat: it did nothing.
func Connect(options Options) (redis.UniversalClient, error) {
	addresses := options.Addresses
	if len(addresses) == 0 {
		addresses = []string{cmp.Or(options.Address, DefaultAddress)}
	}
	var servers []*redis.Options
	for _, address := range addresses {
		server, err := options.server(address)
		if err != nil {
			return nil, err
		}
		servers = append(servers, server)
	}
	if options.Cluster {
		return connectCluster(servers, options.ReplyMax)
	}
	rdb := redis.NewClient(place(options.Library, servers))
	if options.ReplyMax > 0 {
		rdb.AddHook(replyHook{options.ReplyMax})
	}
	rdb.AddHook(patienceHook{})
	rdb.AddHook(permissionHook{rdb.Options().Username})
	return rdb, nil
}

// server says how to reach the server at one address.
func (options Options) server(address string) (*redis.Options, error) {
	config, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	if options.DB != nil {
		config.DB = *options.DB
	}
	if config.DB < 0 {
		return nil, fmt.Errorf("database %d: %w: the number cannot be negative", config.DB, ErrAddress)
	}
	if options.User != "" {
		config.Username = options.User
	}
	if options.Password != "" {
		config.Password = options.Password
	}
	if options.TLS && config.Network == "unix" {
		return nil, fmt.Errorf("%w: a Unix socket has no TLS", ErrAddress)
	}
	if options.TLS && config.TLSConfig == nil {
		host, _, _ := net.SplitHostPort(config.Addr)
		config.TLSConfig = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	if err := options.Certificates.apply(config.TLSConfig); err != nil {
		return nil, err
	}
	config.MaxRetries = -1
	config.DialerRetries = 1
	config.DialTimeout = dialPatience
	config.Dialer = (&dialer{tls: config.TLSConfig}).dial
	config.ContextTimeoutEnabled = true
	config.PoolSize = 64
	// A user who may do only what is needed may not do these.
	config.DisableIdentity = true
	config.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return config, nil
}

func parseAddress(address string) (*redis.Options, error) {
	scheme, _, isURL := strings.Cut(address, "://")
	switch {
	case isURL:
		parsed, err := url.Parse(address)
		var config *redis.Options
		if err == nil {
			config, err = redis.ParseURL(address)
		}
		if err == nil && config.Network == "tcp" {
			_, port, _ := net.SplitHostPort(config.Addr)
			err = checkPort(port)
		}
		if err != nil || parsed.Fragment != "" || parsed.Opaque != "" || scheme == "unix" && parsed.Host != "" {
			// The parser's own message can quote a piece of the password, and so can
			// what looks like a scheme.
			return nil, fmt.Errorf("%w: this URL cannot be understood; write redis://HOST:PORT, with /DB behind it if need be, rediss:// for TLS, or unix:///PATH; "+passwordGoes, ErrAddress)
		}
		return config, nil
	case strings.Contains(address, "@"):
		return nil, fmt.Errorf("%w: an address with an at sign is a URL, such as redis://HOST:PORT; "+passwordGoes, ErrAddress)
	case isPath(address):
		return &redis.Options{Network: "unix", Addr: address}, nil
	case strings.Contains(address, "%40"):
		return nil, fmt.Errorf("%w: an address with an escaped at sign (%%40) is a URL, such as redis://HOST:PORT; "+passwordGoes, ErrAddress)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), "6379"
	}
	if checkPort(port) != nil || strings.Contains(host, ":") && net.ParseIP(host) == nil ||
		strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' }) {
		return nil, fmt.Errorf("%s: %w: write HOST:PORT, a URL such as redis://HOST:PORT/DB, or the path of a socket, such as ./redis.sock", library.Printable(address), ErrAddress)
	}
	return &redis.Options{Network: "tcp", Addr: net.JoinHostPort(cmp.Or(host, "localhost"), port)}, nil
}

// passwordGoes has no at sign in a URL, since what stands before one is hidden wherever
// messages are shown.
const passwordGoes = "a password goes into --password-file, or as :PASSWORD@ before the host, its special characters escaped (%%40 for @)"

// isPath reports whether an address without a scheme is meant as the path of a socket,
// and not as a URL that is written wrongly: redis:/localhost, redis//localhost,
// localhost:6379/0 or localhost/0.
func isPath(address string) bool {
	first, rest, hasSlash := strings.Cut(address, "/")
	switch {
	case !hasSlash || strings.HasPrefix(rest, "/"):
		return false
	case first == "" || first == "." || first == "..":
		return true
	}
	_, err := strconv.Atoi(path.Base(rest))
	return err != nil && !strings.Contains(first, ":")
}

func checkPort(port string) error {
	number, err := strconv.ParseUint(port, 10, 16)
	if err == nil && number == 0 {
		err = strconv.ErrRange
	}
	return err
}

// Where tells the address of a client, without its password, in a form that
// SplitAddresses and Connect take: of a client of a Cluster, the addresses of the
// nodes it was told.
func Where(rdb redis.UniversalClient) string {
	switch client := rdb.(type) {
	case *redis.Client:
		config := client.Options()
		return where(config.Network, config.Addr, config.DB, config.TLSConfig != nil)
	case *redis.ClusterClient:
		config := client.Options()
		var nodes []string
		for _, address := range config.Addrs {
			nodes = append(nodes, where("tcp", address, 0, config.TLSConfig != nil))
		}
		return strings.Join(nodes, ",")
	}
	return "an unknown address"
}

// Standing tells the address of the server that has the library now, as Where does.
func Standing(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) string {
	if master, err := Master(ctx, rdb, keys); err == nil {
		return Where(master)
	}
	return Where(rdb)
}

func where(network, address string, db int, encrypted bool) string {
	if network == "unix" {
		if !filepath.IsAbs(address) {
			return address // a URL has no way to say it
		}
		where := url.URL{Scheme: "unix", Path: address}
		if db != 0 {
			where.RawQuery = "db=" + strconv.Itoa(db)
		}
		return where.String()
	}
	scheme := "redis"
	if encrypted {
		scheme = "rediss"
	}
	where := url.URL{Scheme: scheme, Host: address}
	if db != 0 {
		where.Path = "/" + strconv.Itoa(db)
	}
	return where.String()
}

// A Server is what Inspect learned. A text that the server would not tell is empty.
type Server struct {
	Name    string // redis, valkey, or miniredis for an embedded one
	Version string
	// AppendOnly and Fsync are the settings appendonly (yes, no) and appendfsync.
	AppendOnly, Fsync string
	// Save is the setting save: when snapshots are taken; empty means never, if
	// AppendOnly is known.
	Save string
	// Eviction is the setting maxmemory-policy; MemoryMax is maxmemory in bytes, "0" for no limit.
	Eviction, MemoryMax string
	// FullCoverage is the setting cluster-require-full-coverage of a Cluster's node: with
	// yes, all libraries of the Cluster wait while one master is away.
	FullCoverage string
}

// Embedded reports whether the server lives inside a lendingd and keeps nothing.
func (s Server) Embedded() bool { return s.Name == "miniredis" }

// Inspect asks the server that has the library what it is. It returns an error that
// wraps ErrServerTooOld, or the connection's error.
func Inspect(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) (Server, error) {
	master, err := Master(ctx, rdb, keys)
	if err != nil {
		return Server{}, err
	}
	// HELLO tells who answers. With the protocol version that the connection speaks
	// already it changes nothing.
	reply, err := master.Do(ctx, "HELLO", master.Options().Protocol).Result()
	if err != nil {
		if strings.HasPrefix(err.Error(), "ERR unknown command") {
			return Server{}, fmt.Errorf("%w: it does not know HELLO", ErrServerTooOld)
		}
		return Server{}, err
	}
	facts := map[string]string{}
	switch reply := reply.(type) {
	case map[any]any:
		for name, value := range reply {
			facts[fmt.Sprint(name)] = fmt.Sprint(value)
		}
	case []any:
		for i := 0; i+1 < len(reply); i += 2 {
			facts[fmt.Sprint(reply[i])] = fmt.Sprint(reply[i+1])
		}
	}
	server := Server{Name: facts["server"], Version: facts["version"]}
	major, _, _ := strings.Cut(server.Version, ".")
	if number, err := strconv.Atoi(major); err == nil && number < 7 {
		return server, fmt.Errorf("%w: it is %s %s", ErrServerTooOld, server.Name, server.Version)
	}
	settings := map[string]*string{
		"appendonly": &server.AppendOnly, "appendfsync": &server.Fsync, "save": &server.Save,
		"maxmemory-policy": &server.Eviction, "maxmemory": &server.MemoryMax,
	}
	if facts["mode"] == "cluster" {
		settings["cluster-require-full-coverage"] = &server.FullCoverage
	}
	// A managed server may forbid CONFIG; then these stay unknown.
	for name, setting := range settings {
		*setting = master.ConfigGet(ctx, name).Val()[name]
	}
	return server, nil
}
