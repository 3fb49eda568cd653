package redisconn

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

func TestSeveralAddressesInOneTextAreTakenApart(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{"", []string{}},
		{",", []string{}},
		{"cellar", []string{"cellar"}},
		{"cellar:7001,attic:7002", []string{"cellar:7001", "attic:7002"}},
		{"cellar:7001, attic:7002 ,", []string{"cellar:7001", "attic:7002"}},
		{"redis://cellar/1,rediss://attic,/run/redis.sock", []string{"redis://cellar/1", "rediss://attic", "/run/redis.sock"}},
		{"[::1]:7001,::1", []string{"[::1]:7001", "::1"}},

		// A comma in a password.
		{"redis://:se,same@cellar", []string{"redis://:se,same@cellar"}},
		{"redis://:,se,,same,@cellar:7001", []string{"redis://:,se,,same,@cellar:7001"}},
		{"redis://ali:se%2Csame@cellar,redis://bob:se,same@attic", []string{"redis://ali:se%2Csame@cellar", "redis://bob:se,same@attic"}},
		{"redis://:se,same@cellar,attic,redis://:se,same@barn", []string{"redis://:se,same@cellar", "attic", "redis://:se,same@barn"}},
		{"cellar,redis://a,li:sesame@attic", []string{"cellar", "redis://a,li:sesame@attic"}},

		// These are no addresses, and stay in one piece so that Connect refuses all of it.
		{"ali:se,same@cellar", []string{"ali:se,same@cellar"}},
		{"cellar,ali:se,same@attic", []string{"cellar,ali:se,same@attic"}},
		{"redis://:sesame@cellar,ali:se,same@attic", []string{"redis://:sesame@cellar", "ali:se,same@attic"}},
		{" ", []string{" "}},
	} {
		if diff := cmp.Diff(test.want, SplitAddresses(test.text)); diff != "" {
			t.Errorf("SplitAddresses(%q) (-want +got):\n%s", test.text, diff)
		}
	}
}

func TestNoPartOfAPasswordWithACommaIsShown(t *testing.T) {
	for _, address := range broken {
		for _, text := range []string{
			strings.ReplaceAll(address, "sesame", "open,sesame"), strings.ReplaceAll(address, "sesame", "sesame,open"),
			"attic," + strings.ReplaceAll(address, "sesame", "sesame,open"),
		} {
			addresses := SplitAddresses(text)
			rdb, err := Connect(Options{Addresses: addresses, Library: "main"})
			if err == nil {
				rdb.Close()
				t.Errorf("Connect to %q goes to %s, want an error", addresses, Where(rdb))
			} else if strings.Contains(err.Error(), "sesame") {
				t.Errorf("Connect to %q gives the password away: %v", addresses, err)
			}
		}
	}
}

// placed tells where each of so many libraries stands.
func placed(t *testing.T, libraries int, addresses ...string) map[string]string {
	t.Helper()
	var servers []*redis.Options
	for _, address := range addresses {
		server, err := Options{}.server(address)
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, server)
	}
	where := map[string]string{}
	for i := range libraries {
		name := fmt.Sprintf("branch-%d", i)
		server := place(name, servers)
		where[name] = fmt.Sprintf("%s/%d", server.Addr, server.DB)
	}
	return where
}

// Another answer would look for libraries where they are not.
func TestWhereEachLibraryStandsIsPinned(t *testing.T) {
	want := map[string]string{
		"branch-0": "attic:7002/0", "branch-1": "attic:7002/0", "branch-2": "attic:7002/0", "branch-3": "/run/redis.sock/0",
		"branch-4": "/run/redis.sock/0", "branch-5": "/run/redis.sock/0", "branch-6": "/run/redis.sock/0", "branch-7": "cellar:6379/1",
		"branch-8": "attic:7002/0", "branch-9": "/run/redis.sock/0", "branch-10": "cellar:6379/0", "branch-11": "attic:7002/0",
	}
	if diff := cmp.Diff(want, placed(t, 12, "cellar", "attic:7002", "/run/redis.sock", "redis://cellar/1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOneMoreServerMovesOnlyTheLibrariesThatGoToIt(t *testing.T) {
	const libraries = 1000
	three := placed(t, libraries, "a", "b", "c")
	four := placed(t, libraries, "d", "c", "redis://:sesame@a:6379", "b")
	share := map[string]int{}
	for name, where := range three {
		share[where]++
		if now := four[name]; now != where && now != "d:6379/0" {
			t.Errorf("%s went from %s to %s, which was there before", name, where, now)
		} else if now != where {
			share[now]++
		}
	}
	for where, count := range share {
		want := libraries / 3
		if where == "d:6379/0" {
			want = libraries / 4
		}
		if count < want*8/10 || count > want*12/10 {
			t.Errorf("%s got %d of %d libraries, want about %d", where, count, libraries, want)
		}
	}
	if len(share) != 4 {
		t.Errorf("the servers with libraries are %v, want 4", share)
	}
	addresses := []string{"a", "b", "c", "d"}
	slices.Reverse(addresses)
	if diff := cmp.Diff(four, placed(t, libraries, addresses...)); diff != "" {
		t.Errorf("the order of the addresses matters (-want +got):\n%s", diff)
	}
}
