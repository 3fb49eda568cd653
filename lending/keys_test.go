package lending

import (
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
		"terms":               k.terms(),
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
		"terms":               "{main}:lending:terms",
		"receipts":            "{main}:lending:receipts",
		"older receipts":      "{main}:lending:receipts:older",
		"page":                "{main}:lending:receipts:page",
		"bells":               "{main}:lending:bell:",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}
