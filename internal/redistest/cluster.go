package redistest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// clusterSlots is how many hash slots a Redis Cluster shares out among its masters.
const clusterSlots = 16384

// NodeTimeout is how long a node of a Cluster may be silent before the others take
// it for dead; about twice as long after that a replica has taken its place.
const NodeTimeout = time.Second

// A Cluster is a Redis Cluster on loopback.
type Cluster struct {
	// Masters have the slots in equal shares, in this order, until a replica takes the
	// place of one.
	Masters []*Node
	// Replicas has one for each master, or is empty.
	Replicas []*Node
}

// A Node is a server of a Cluster. It listens on a TCP port as well.
type Node struct {
	*Server
	Address string // host:port
	id      string // in the Cluster
	rdb     *redis.Client
}

// StartCluster runs a Cluster of so many masters, each with a replica if asked for,
// and returns once every node knows who has which slots and each replica has
// caught up. A master that dies leaves the others' slots served. args are
// redis-server's own, for each node; with "--tls-cluster", "yes" the nodes' addresses
// are for TLS alone. The nodes end with the test.
func StartCluster(t testing.TB, masters int, withReplicas bool, args ...string) *Cluster {
	t.Helper()
	lookUp(t)
	count := masters
	if withReplicas {
		count *= 2
	}
	nodes := make([]*Node, count)
	for i := range nodes {
		nodes[i] = startNode(t, args)
	}
	c := &Cluster{Masters: nodes[:masters], Replicas: nodes[masters:]}

	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("start a Cluster: %v", err)
		}
	}
	for i, node := range c.Masters {
		// Epochs that differ spare the nodes a quarrel over who is who.
		must(node.rdb.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		must(node.rdb.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", clusterSlots*i/masters, clusterSlots*(i+1)/masters-1).Err())
	}
	for _, node := range nodes[1:] {
		host, port, _ := net.SplitHostPort(node.Address)
		must(nodes[0].rdb.Do(ctx, "CLUSTER", "MEET", host, port, node.busPort(ctx)).Err())
	}
	c.until(ctx, t, "every node knows all others", func(node *Node) bool {
		known := node.rdb.ClusterNodes(ctx).Val()
		// A node that was met has a name of its own only after a handshake.
		return !slices.ContainsFunc(nodes, func(other *Node) bool { return !strings.Contains(known, other.id) })
	})
	for i, node := range c.Replicas {
		must(node.rdb.ClusterReplicate(ctx, c.Masters[i].id).Err())
	}
	c.until(ctx, t, "every node knows who has which slots", func(node *Node) bool {
		info := node.rdb.ClusterInfo(ctx).Val()
		return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_slots_ok:%d\r", clusterSlots))
	})
	c.until(ctx, t, "every replica has caught up", func(node *Node) bool {
		replication := node.rdb.Info(ctx, "replication").Val()
		return strings.Contains(replication, "role:master") && (!withReplicas || strings.Contains(replication, "state=online")) ||
			strings.Contains(replication, "master_link_status:up")
	})
	return c
}

// until waits until a condition holds on every node.
func (c *Cluster) until(ctx context.Context, t testing.TB, what string, holds func(*Node) bool) {
	t.Helper()
	for _, node := range c.Nodes() {
		for !holds(node) {
			if ctx.Err() != nil {
				t.Fatalf("start a Cluster: not within %s: %s; the log of %s:\n%s", startWithin, what, node.Address, node.log())
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// portNext counts through ports below those that systems hand out by themselves.
var portNext atomic.Int64

func init() { portNext.Store(10000 + rand.Int64N(20000)) }

func freePort(t testing.TB) int64 {
	t.Helper()
	for range 100 {
		port := portNext.Add(1)
		if listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatal("no free port among a hundred")
	return 0
}

func startNode(t testing.TB, args []string) *Node {
	t.Helper()
	port, bus := freePort(t), freePort(t)
	node := &Node{Address: net.JoinHostPort("127.0.0.1", strconv.FormatInt(port, 10))}
	listen := "--port"
	if slices.Contains(args, "--tls-cluster") {
		listen = "--tls-port"
	}
	node.Server = Start(t, append([]string{
		"--bind", "127.0.0.1", listen, strconv.FormatInt(port, 10),
		"--cluster-enabled", "yes", "--cluster-port", strconv.FormatInt(bus, 10),
		"--cluster-node-timeout", strconv.FormatInt(NodeTimeout.Milliseconds(), 10), "--cluster-require-full-coverage", "no",
		"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0",
	}, args...)...)
	node.rdb = node.Client(t)
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	id, err := node.rdb.Do(ctx, "CLUSTER", "MYID").Text()
	if err != nil {
		t.Fatalf("start a Cluster: %v", err)
	}
	node.id = id
	return node
}

func (n *Node) busPort(ctx context.Context) string {
	return n.rdb.ConfigGet(ctx, "cluster-port").Val()["cluster-port"]
}

// Nodes are the masters, then the replicas.
func (c *Cluster) Nodes() []*Node {
	return append(c.Masters[:len(c.Masters):len(c.Masters)], c.Replicas...)
}

// Addresses are those of all nodes.
func (c *Cluster) Addresses() []string {
	var addresses []string
	for _, node := range c.Nodes() {
		addresses = append(addresses, node.Address)
	}
	return addresses
}

// Owner is the index in Masters of the one that had a key's slot in the beginning.
func (c *Cluster) Owner(t testing.TB, key string) int {
	t.Helper()
	slot, err := c.Masters[0].rdb.ClusterKeySlot(context.Background(), key).Result()
	if err != nil {
		t.Fatalf("slot of %s: %v", key, err)
	}
	owner := len(c.Masters) - 1
	for int(slot) < clusterSlots*owner/len(c.Masters) {
		owner--
	}
	return owner
}
