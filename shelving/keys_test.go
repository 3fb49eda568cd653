package shelving

import (
	"regexp"
	"testing"

	"example.com/library/library"

	"github.com/google/go-cmp/cmp"
)

// Programs of another version may share the library, so a key's name is a promise.
func TestEveryKeyOfTheShelvingServiceHasItsPinnedName(t *testing.T) {
	k := keys{library.Keys{Library: "main"}}
	got := map[string]string{
		"out":                    k.out("geb"),
		"out, another book":      k.out("dune"),
		"out, an odd name":       k.out(`a "b" \`),
		"out, letters not Latin": k.out("Gödel 📚"),
		"out, no name":           k.out(""),
		"away":                   k.away(),
		"awaited":                k.awaited(),
	}
	// The bay is the lower half of FNV-1a, and was reckoned by another program.
	want := map[string]string{
		"out":                    "{main}:shelving:out:48481",
		"out, another book":      "{main}:shelving:out:13027",
		"out, an odd name":       "{main}:shelving:out:22266",
		"out, letters not Latin": "{main}:shelving:out:10700",
		"out, no name":           "{main}:shelving:out:40389",
		"away":                   "{main}:shelving:away",
		"awaited":                "{main}:shelving:awaited",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

var outPattern = regexp.MustCompile(`^\{main\}:shelving:out:(0|[1-9]\d{0,4})$`)

// FuzzOut builds the key for any book. It is a bay of the library's, whatever the name.
// Books may share a bay, for they are fields of it.
func FuzzOut(f *testing.F) {
	f.Add("geb")
	f.Add("")
	f.Add("{north}:shelving:away")
	f.Add("\x00\xff\u202e")
	f.Fuzz(func(t *testing.T, book string) {
		k := keys{library.Keys{Library: "main"}}
		if key := k.out(book); !outPattern.MatchString(key) {
			t.Errorf("the bay of %q has the key %q", book, key)
		}
	})
}
