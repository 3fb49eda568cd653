package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"example.com/library/library"
	"github.com/redis/go-redis/v9"
)

// connectCluster makes a client of the Redis Cluster that has a node at each
// address. It needs one of them to answer, and learns of all other nodes from it.
func connectCluster(nodes []*redis.Options, replyMax int64) (redis.UniversalClient, error) {
	first := nodes[0]
	options := &redis.ClusterOptions{
		Protocol: first.Protocol, ClientName: first.ClientName, Username: first.Username, Password: first.Password, TLSConfig: first.TLSConfig,
		ReadTimeout: first.ReadTimeout, WriteTimeout: first.WriteTimeout,
		ConnMaxIdleTime: first.ConnMaxIdleTime, ConnMaxLifetime: first.ConnMaxLifetime,
		DialerRetries: first.DialerRetries, DialTimeout: first.DialTimeout, ContextTimeoutEnabled: first.ContextTimeoutEnabled, PoolSize: first.PoolSize,
		DisableIdentity: first.DisableIdentity, MaintNotificationsConfig: first.MaintNotificationsConfig,
	}
	if first.TLSConfig != nil {
		// Each node is known by a name of its own: the one it is addressed by.
		options.TLSConfig = first.TLSConfig.Clone()
		options.TLSConfig.ServerName = ""
	}
	options.Dialer = (&dialer{tls: options.TLSConfig, host: hostOf(first.Addr)}).dial
	for _, node := range nodes {
		switch {
		case node.Network == "unix":
			return nil, fmt.Errorf("%w: the nodes of a Cluster are reached by host and port, not by a Unix socket", ErrAddress)
		case node.DB != 0:
			return nil, fmt.Errorf("%w: a Cluster has no database but 0", ErrAddress)
		case node.Username != first.Username || node.Password != first.Password || (node.TLSConfig == nil) != (first.TLSConfig == nil):
			return nil, fmt.Errorf("%w: the nodes of a Cluster have one user, one password, and TLS or not, all alike; say them once, by --password-file and --ssl, or in every address", ErrAddress)
		}
		options.Addrs = append(options.Addrs, node.Addr)
	}
	cluster := redis.NewClusterClient(options)
	cluster.AddHook(patienceHook{})
	cluster.AddHook(noRetryHook{})
	cluster.OnNewNode(func(node *redis.Client) {
		if replyMax > 0 {
			node.AddHook(replyHook{replyMax})
		}
		node.AddHook(topologyHook{cluster, hostOf(node.Options().Addr)})
		node.AddHook(permissionHook{options.Username})
	})
	return cluster, nil
}

// Master gives a client of the server that has the library now: of a Cluster, the
// master of the library's slot as far as the client knows. It does not follow the
// library when that moves, so ask for it anew each time. Its error is Redis's.
func Master(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) (*redis.Client, error) {
	switch client := rdb.(type) {
	case *redis.Client:
		return client, nil
	case *redis.ClusterClient:
		return client.MasterForKey(ctx, keys.Events())
	}
	return nil, fmt.Errorf("a client of the type %T", rdb)
}

// Ping asks the server that has the library whether it is there.
func Ping(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) error {
	master, err := Master(ctx, rdb, keys)
	if err != nil {
		return err
	}
	return master.Ping(ctx).Err()
}

// A noRetryHook keeps a client of a Cluster from repeating a command that may have taken
// effect. go-redis repeats one up to three times, after a reply that sends it
// elsewhere and after a lost connection alike. The first is right: MOVED and ASK
// say that nothing was done. The second would append an entry twice; so every
// command is marked as one that is not to be tried again, which go-redis heeds in
// the second case only.
type noRetryHook struct{}

// A noRetry is a command that go-redis does not try again after an error.
type noRetry struct{ redis.Cmder }

func (noRetry) NoRetry() bool { return true }

func (noRetryHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (noRetryHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return clusterError(next(ctx, noRetry{cmd}))
	}
}

func (noRetryHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		marked := make([]redis.Cmder, len(cmds))
		for i, cmd := range cmds {
			marked[i] = noRetry{cmd}
		}
		err := clusterError(next(ctx, marked))
		for _, cmd := range cmds {
			cmd.SetErr(clusterError(cmd.Err()))
		}
		return err
	}
}

// errMoving marks the reply of a Cluster's node that has not got the library, or
// not any more, after redirections were followed in vain: the Cluster is changing.
var errMoving = errors.New("the Cluster is changing")

// clusterError marks a redirection that led nowhere. Outside a Cluster's client the
// same reply says that the client should be one.
func clusterError(err error) error {
	if err != nil && isRedirection(err) && !errors.Is(err, errMoving) {
		return fmt.Errorf("%w: %w", errMoving, err)
	}
	return err
}

func isRedirection(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && (strings.HasPrefix(reply.Error(), "MOVED ") || strings.HasPrefix(reply.Error(), "ASK "))
}

// A topologyHook sees every error of a Cluster's nodes, and has the client look again
// who has which library. By itself go-redis does so once a minute and when a node
// sends it elsewhere, but a dead node sends nobody anywhere. It asks any node, and
// must not wait for one that is just what the others would tell it about.
type topologyHook struct {
	cluster *redis.ClusterClient
	host    string // the node's
}

// lookPatience is how long a node may take to tell who has which library.
const lookPatience = 500 * time.Millisecond

func (t topologyHook) see(err error) {
	if err != nil && (KindOf(err) == Passing || isRedirection(err)) {
		t.cluster.ReloadState(context.Background()) // at most five times a second, in the background
	}
}

func (t topologyHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := next(ctx, network, address)
		t.see(err)
		return connection, err
	}
}

func (t topologyHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "cluster" {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, lookPatience)
			defer cancel()
		}
		var err error
		if slots, is := cmd.(*redis.ClusterSlotsCmd); is {
			err = t.askSlots(ctx, next, slots)
		} else {
			err = next(ctx, cmd)
		}
		t.see(err)
		return err
	}
}

// askSlots asks a node who has which slots. A node may leave its host out: as NULL
// (cluster-preferred-endpoint-type unknown-endpoint), where go-redis would fail; as an
// empty text, of a node that was never told its own, where go-redis would look for it
// on this machine; or as a question mark, of one that should tell a name and has none.
// The host is then the address that is told beside it, or else the one that was asked.
func (t topologyHook) askSlots(ctx context.Context, next redis.ProcessHook, cmd *redis.ClusterSlotsCmd) error {
	asked := redis.NewSliceCmd(ctx, cmd.Args()...)
	if err := next(ctx, asked); err != nil {
		return err
	}
	var slots []redis.ClusterSlot
	for _, entry := range asked.Val() {
		slot, is := entry.([]any)
		if !is || len(slot) < 3 {
			return fmt.Errorf("CLUSTER SLOTS tells of slots %v", entry)
		}
		begin, _ := slot[0].(int64)
		end, _ := slot[1].(int64)
		var nodes []redis.ClusterNode
		for _, entry := range slot[2:] {
			node, is := entry.([]any)
			if !is || len(node) < 2 {
				return fmt.Errorf("CLUSTER SLOTS tells of a node %v", entry)
			}
			host, _ := node[0].(string)
			if beside, is := node[len(node)-1].(map[any]any); host == "?" && is {
				host, _ = beside["ip"].(string)
			}
			if isUnknown(host) {
				host = t.host
			}
			nodes = append(nodes, redis.ClusterNode{Addr: net.JoinHostPort(host, fmt.Sprint(node[1]))})
		}
		slots = append(slots, redis.ClusterSlot{Start: int(begin), End: int(end), Nodes: nodes})
	}
	cmd.SetVal(slots)
	return nil
}

// isUnknown reports whether a node left a host out.
func isUnknown(host string) bool { return host == "" || host == "?" }

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

func (t topologyHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		t.see(err)
		return err
	}
}
