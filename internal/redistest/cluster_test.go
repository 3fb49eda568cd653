package redistest

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestAClusterServesAllItsSlotsAndItsReplicasHaveCaughtUp(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := StartCluster(t, 3, true)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addresses()[:1]})
	defer rdb.Close()
	owners := map[int]bool{}
	for _, key := range []string{"{0}", "{1}", "{2}", "{3}", "{4}", "{5}"} {
		if err := rdb.Set(ctx, key, "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
		owner := c.Owner(t, key)
		owners[owner] = true
		for i, master := range c.Masters {
			if has := slices.Contains(master.Client(t).Keys(ctx, "*").Val(), key); has != (i == owner) {
				t.Errorf("%s is on master %d: %v, but its owner is %d", key, i, has, owner)
			}
		}
	}
	if len(owners) != 3 {
		t.Errorf("six keys went to the masters %v, want all three", owners)
	}
	for i, replica := range c.Replicas {
		_, port, _ := strings.Cut(c.Masters[i].Address, ":")
		info := replica.Client(t).Info(ctx, "replication").Val()
		if !strings.Contains(info, "master_port:"+port+"\r") || !strings.Contains(info, "master_link_status:up") {
			t.Errorf("replica %d says:\n%s", i, info)
		}
	}
}
