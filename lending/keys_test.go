package lending

import (
	"strings"
	"testing"

	"example.com/library/library"

	"github.com/google/go-cmp/cmp"
)

// Programs of another version may share the library, so a key's name is a promise.
func TestEveryKeyOfTheLendingServiceHasItsPinnedName(t *testing.T) {
	k := keys{library.Keys{Library: "main"}}
	got := map[string]string{
		"loans":               k.loans(),
		"card":                k.card("ann"),
		"card of an odd name": k.card("{north}:*"),
		"fetching":            k.fetching(),
		"front":               k.front(),
		"demand":              k.demand(),
		"faded":               k.faded(),
		"clock":               k.clock(),
		"receipts":            k.receipts(),
		"older receipts":      k.olderReceipts(),
		"page":                k.page(),
		"bells":               k.bells(),
	}
	want := map[string]string{
		"loans":               "{main}:lending:loans",
		"card":                "{main}:lending:card:ann",
		"card of an odd name": "{main}:lending:card:{north}:*",
		"fetching":            "{main}:lending:fetching",
		"front":               "{main}:lending:front",
		"demand":              "{main}:lending:demand",
		"faded":               "{main}:lending:demand:faded",
		"clock":               "{main}:lending:clock",
		"receipts":            "{main}:lending:receipts",
		"older receipts":      "{main}:lending:receipts:older",
		"page":                "{main}:lending:receipts:page",
		"bells":               "{main}:lending:bell:",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// FuzzKeys builds every key for two libraries and two users. Each lies within its
// library's hash tag, and no two that stand for different things are the same.
func FuzzKeys(f *testing.F) {
	f.Add("main", "north", "ann", "bob", "worker1")
	f.Add("main", "main-1", "ann", "{north}", "a")
	f.Add("a", "a--", "ann:bob", ":", "lending")
	f.Add("0", "00", "}", "loans", "fetching")
	f.Fuzz(func(t *testing.T, library1, library2, user1, user2, instance string) {
		if library.CheckTag("library", library1) != nil || library.CheckTag("library", library2) != nil || library.CheckTag("instance", instance) != nil ||
			library.CheckName("user", user1) != nil || library.CheckName("user", user2) != nil {
			t.Skip("nobody is called that")
		}
		meaning := map[string]string{}
		for _, name := range []string{library1, library2} {
			k := keys{library.Keys{Library: name}}
			all := map[string]string{
				"requests": k.Requests(), "returns": k.Returns(), "deliveries": k.Deliveries(), "fetches": k.Fetches(), "stores": k.Stores(),
				"events": k.Events(), "rejected": k.Rejected(library.Lending), "rejected by shelving": k.Rejected(library.Shelving),
				"loans": k.loans(), "fetching": k.fetching(), "front": k.front(), "demand": k.demand(), "faded": k.faded(), "clock": k.clock(),
				"terms": k.Terms(), "noted terms": k.NotedTerms(), "receipts": k.receipts(), "older": k.olderReceipts(), "page": k.page(),
				"card of " + user1: k.card(user1), "card of " + user2: k.card(user2), "instance": k.Instance(instance), "bells": k.bells(),
			}
			for what, key := range all {
				// The hash tag is what stands between the first { and the first } after it.
				_, rest, _ := strings.Cut(key, "{")
				if tag, _, closed := strings.Cut(rest, "}"); !closed || tag != name || !strings.HasPrefix(key, "{"+name+"}:") {
					t.Errorf("the key %q is not within the library %q", key, name)
				}
				what = name + ": " + what
				if before := meaning[key]; before != "" && before != what {
					t.Errorf("%q is the key of %s and of %s", key, before, what)
				}
				meaning[key] = what
			}
		}
	})
}
