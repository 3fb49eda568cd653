package museum

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var write = flag.Bool("write", false, "write docs/museum.md anew")

func TestTheWrongOneFailsAndTheRightOneDoesNot(t *testing.T) {
	for _, exhibit := range Exhibits {
		t.Run(exhibit.Name, func(t *testing.T) {
			t.Parallel()
			for _, wrong := range []bool{true, false} {
				var story strings.Builder
				verdict, err := exhibit.Play(t.Context(), &story, wrong)
				if err != nil {
					t.Fatalf("wrong=%v: %v\n%s", wrong, err, story.String())
				}
				if verdict.Clean() == wrong {
					t.Errorf("wrong=%v: the verdict is\n%safter\n%s", wrong, verdict.Report(), story.String())
				}
			}
		})
	}
}

func TestThePageIsWhatTheExhibitsSay(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "museum.md")
	var page strings.Builder
	if err := WritePage(t.Context(), &page); err != nil {
		t.Fatal(err)
	}
	if *write {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stands, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(page.String(), string(stands)); diff != "" {
		t.Errorf("docs/museum.md is another (-exhibits +page); make museum writes it:\n%s", diff)
	}
}

func TestAnExhibitIsWholeAndSmall(t *testing.T) {
	names := map[string]bool{}
	for _, e := range Exhibits {
		if names[e.Name] {
			t.Errorf("two exhibits are called %s", e.Name)
		}
		names[e.Name] = true
		for what, text := range map[string]string{"title": e.Title, "what": e.What, "question": e.Predict, "sentence to keep": e.Keep, "place to read": e.Read} {
			if text == "" {
				t.Errorf("%s has no %s", e.Name, what)
			}
		}
		if len(e.Seen) == 0 {
			t.Errorf("%s was seen nowhere", e.Name)
		}
		codes, err := e.Difference()
		if err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		if len(codes) == 0 {
			t.Errorf("%s has no difference", e.Name)
		}
		for _, code := range codes {
			if lines := strings.Count(code.Wrong, "\n") + 1; lines >= 40 {
				t.Errorf("%s: the wrong one has %d lines, and less than 40 are allowed", e.Name, lines)
			}
		}
	}
}

func TestAChangeMustFitItsScript(t *testing.T) {
	e := Exhibit{Name: "misfit", Change: Change{Script: "lend.lua", Right: "what stands nowhere", Wrong: "x"}}
	if _, err := e.Play(t.Context(), &strings.Builder{}, true); err == nil || !strings.Contains(err.Error(), "0 times") {
		t.Errorf("the error is %v, and should tell that the lines stand nowhere", err)
	}
}

// An exhibit that was repaired must be noticed.
func TestAWrongOneThatIsRightIsNoticed(t *testing.T) {
	e := clientClock
	e.Change.Wrong = e.Change.Right
	verdict, err := e.Play(t.Context(), &strings.Builder{}, true)
	if err != nil || !verdict.Clean() {
		t.Errorf("verdict %+v, error %v; a change that changes nothing should leave nothing wrong", verdict, err)
	}
}
