package document

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOnlyThePartBetweenItsLinesIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(path, []byte("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, "bench", "new\n"); err != nil {
		t.Fatal(err)
	}
	want := "before\n<!-- bench -->\n\nnew\n\n<!-- /bench -->\nafter\n"
	if err := Replace(path, "another", "newer"); err == nil {
		t.Error("a part that is not there was written")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(text); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := Replace(filepath.Join(t.TempDir(), "none.md"), "bench", "new\n"); err == nil {
		t.Error("a document that is not there was written")
	}
}
