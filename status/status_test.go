package status

import (
	"context"
	"maps"
	"slices"
	"testing"

	"example.com/library/internal/patience"
	"example.com/library/internal/redistest"
	"example.com/library/library"
	"example.com/library/worker"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

var names = library.Keys{Library: "main"}

func TestOneFigureThatCannotBeReadTakesNoOtherWithIt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		ctx, cancel := context.WithTimeout(context.Background(), patience.Long)
		defer cancel()
		if err := worker.EnsureAll(ctx, rdb, names); err != nil {
			t.Fatal(err)
		}
		instance, err := worker.Take(ctx, rdb, worker.LockConfig{Keys: names, Name: "worker1", TTL: patience.Long, Services: []string{library.Lending}})
		if err != nil {
			t.Fatal(err)
		}
		if err := rdb.XGroupCreateConsumer(ctx, names.Requests(), library.Lending, instance.Name()).Err(); err != nil {
			t.Fatal(err)
		}
		look := func() *Status {
			t.Helper()
			s, err := Look(ctx, rdb, names)
			if (err != nil) != (len(s.Unknown) > 0) {
				t.Errorf("Look returns %v, and what is unknown is %v", err, s.Unknown)
			}
			return s
		}
		if whole := look(); len(whole.Unknown) > 0 || len(whole.Streams) != 5 || len(whole.Instances) != 1 || len(whole.Rejected) != 2 {
			t.Fatalf("Look at a sound library = %+v", whole)
		}
		for key, unknown := range map[string][]string{
			names.Requests():                {Instances, "lending:requests"},
			names.Stores():                  {Instances, "shelving:stores"},
			names.Rejected(library.Lending): {"lending:rejected"},
			names.Terms():                   {Terms},
			names.Key("lending:loans"):      {Lending},
			names.Key("shelving:away"):      {Shelving},
			names.Instance(instance.Name()): {Instances},
		} {
			kept := key + ":kept"
			existed := rdb.Rename(ctx, key, kept).Err() == nil
			if err := rdb.ZAdd(ctx, key, redis.Z{Member: "nothing that we write"}).Err(); err != nil {
				t.Fatal(err)
			}
			s := look()
			if diff := cmp.Diff(unknown, slices.Sorted(maps.Keys(s.Unknown))); diff != "" {
				t.Errorf("with a wrong %s, unknown is (-want +got):\n%s", key, diff)
			}
			for figure, known := range map[string]bool{
				"lending:requests": slices.ContainsFunc(s.Streams, func(s worker.State) bool { return s.Name() == "lending:requests" }),
				"shelving:stores":  slices.ContainsFunc(s.Streams, func(s worker.State) bool { return s.Name() == "shelving:stores" }),
			} {
				if known != (s.Unknown[figure] == nil) {
					t.Errorf("with a wrong %s, %s is there: %v; unknown: %v", key, figure, known, s.Unknown[figure])
				}
			}
			rdb.Del(ctx, key)
			if existed {
				rdb.Rename(ctx, kept, key)
			}
		}
	})
}
