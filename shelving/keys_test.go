package shelving

import (
	"testing"

	"example.com/library/library"

	"github.com/google/go-cmp/cmp"
)

// Programs of another version may share the library, so a key's name is a promise.
func TestEveryKeyOfTheShelvingServiceHasItsPinnedName(t *testing.T) {
	k := keys{library.Keys{Library: "main"}}
	got := map[string]string{"out": k.out(), "awaited": k.awaited()}
	want := map[string]string{"out": "{main}:shelving:out", "awaited": "{main}:shelving:awaited"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}
