package main

import (
	"strings"
	"testing"
)

// A mutant that does not fit its project any more would be missed only by whoever
// runs them all.
func TestEveryMutantFitsTheProject(t *testing.T) {
	root, err := output(t.Context(), ".", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		t.Skipf("this is no clone of the project: %v", err)
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if err := copyProject(t.Context(), root, t.TempDir(), m.edits); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnEditThatDoesNotFitOnceIsRefused(t *testing.T) {
	root, err := output(t.Context(), ".", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		t.Skipf("this is no clone of the project: %v", err)
	}
	for old, want := range map[string]string{"no such text in it": "0 times", "local ": "times, want once"} {
		err := copyProject(t.Context(), root, t.TempDir(), []edit{{"scripts/lend.lua", old, ""}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("an edit of %q is answered %v, want %q", old, err, want)
		}
	}
}
