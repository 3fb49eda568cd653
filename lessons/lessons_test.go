package lessons

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/library/internal/patience"

	"github.com/google/go-cmp/cmp"
)

func TestALessonHasAllItsParts(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	overview, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	folders, err := filepath.Glob("[0-9]*-*")
	if err != nil || len(folders) != len(all) {
		t.Fatalf("%d folders and %d lessons: %v", len(folders), len(all), err)
	}
	for n, lesson := range all {
		var words []string
		commands, questions := 0, 0
		for _, part := range lesson.Parts {
			words = append(words, part.Text)
			commands += len(part.Command)
			if part.Ask {
				questions++
			}
		}
		text := "\n" + strings.Join(words, "\n")
		for _, part := range []string{"Question. ", "DO", "Predict. ", "BREAK", "WHAT IS LEFT", "Keep. ", "Exercise. ", "Read. "} {
			if !strings.Contains(text, "\n"+part) {
				t.Errorf("lesson %d has no part %q", lesson.Number, part)
			}
		}
		if commands == 0 || questions == 0 {
			t.Errorf("lesson %d has %d letters of commands, and %d predictions", lesson.Number, commands, questions)
		}
		if link := "](" + folders[n] + "/README.md)"; !strings.Contains(string(overview), link) {
			t.Errorf("lessons/README.md does not lead to %s", folders[n])
		}
	}
}

func TestAPageIsTakenApart(t *testing.T) {
	const page = "# 3. Words\n\n**Question.** Who *reads* `this`?\n\n## Do\n\n**Predict.** See [it](x.md).\n\n" +
		"```console\n$ echo one; echo two\none\n…\n$ true\n$ echo three\nthree\n```\n\n```sh\nls\n```\n\nEnd.\n"
	want := Lesson{Title: "3. Words", Parts: []Part{
		{Text: "Question. Who reads this?"},
		{Text: "DO", Block: true},
		{Text: "Predict. See it.", Ask: true},
		{Command: "echo one; echo two", Output: "one\n…\n"},
		{Command: "true"},
		{Command: "echo three", Output: "three\n"},
		{Text: "ls", Block: true},
		{Text: "End."},
	}}
	if diff := cmp.Diff(want, Read(page)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAnOutputIsComparedWithThePage(t *testing.T) {
	for _, test := range []struct {
		page, output string
		want         bool
	}{
		{"", "", true},
		{"", "something\n", false},
		{"lent until …, from the shelves\n", "lent until 24 Dec 2026, from the shelves\n", true},
		{"lent until …\n", "lent until 24 Dec 2026\nand more\n", false},
		{"first\n…\nlast\n", "first\nlast\n", true},
		{"first\n…\nlast\n", "first\na\nb\nlast\n", true},
		{"(integer) 3\n", "(integer) 4\n", false},
		{"(integer) 3\n", "", false},
	} {
		if got := (Part{Output: test.page}).Prints(test.output); got != test.want {
			t.Errorf("%q beside the page's %q: %v, want %v", test.output, test.page, got, test.want)
		}
	}
}

func TestASessionRunsCommandsInOneShellAndLeavesNothing(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("there is no shell")
	}
	session, err := Begin(t.Context(), "/nowhere", 1)
	if err != nil {
		t.Skip(err)
	}
	defer session.End()
	for _, step := range [][2]string{
		{"word=hello", ""},
		{"echo $word; pwd >where; cat where >&2", "hello\n" + session.dir + "\n"},
		{"printf without-an-end", "without-an-end"},
		{"sleep 600 & echo $! >pid", ""},
		{"echo '{'", "{\n"},
		{"if true; then echo yes; fi   # a comment", "yes\n"},
	} {
		if output, err := session.Run(t.Context(), step[0]); err != nil || output != step[1] {
			t.Errorf("%q printed %q, want %q; error %v", step[0], output, step[1], err)
		}
	}
	pid, err := os.ReadFile(filepath.Join(session.dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	session.End()
	for deadline := time.Now().Add(patience.Long); runs(strings.TrimSpace(string(pid))); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what a command had started in the background still runs")
		}
	}
	if _, err := os.Stat(session.dir); !os.IsNotExist(err) {
		t.Errorf("the folder %s is still there: %v", session.dir, err)
	}
}

// runs reports whether a process runs, where the system tells.
func runs(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
