package cmd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"example.com/library/lessons"
	"example.com/library/redisconn"

	"github.com/rogpeppe/go-internal/testscript"
)

// needRedis skips a test where programs of Redis are missing.
func needRedis(t *testing.T) {
	t.Helper()
	for _, program := range []string{"redis-cli", "redis-server"} {
		if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") != "true" {
			t.Skipf("%s needs %s, which is not on PATH", t.Name(), program)
		}
	}
}

// What is typed in the lecture prints what its page says.
func TestTheLecture(t *testing.T) {
	t.Parallel()
	needRedis(t)
	page, err := os.ReadFile(filepath.Join("..", "docs", "lecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("lendingd")
	if err != nil {
		t.Fatal(err)
	}
	session, err := lessons.Begin(t.Context(), filepath.Dir(program), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer session.End()
	commands := 0
	for _, part := range lessons.Read(string(page)).Parts {
		if part.Command == "" {
			continue
		}
		commands++
		if output, err := session.Run(t.Context(), part.Command); err != nil || !part.Prints(output) {
			t.Errorf("$ %s\nprinted:\n%s\ndocs/lecture.md says:\n%s\nerror: %v", part.Command, output, part.Output, err)
		}
	}
	if commands == 0 {
		t.Error("docs/lecture.md has no commands")
	}
}

// Each lesson is gone through as lendingd lesson does without a terminal. It has servers of
// its own.
func TestLessons(t *testing.T) {
	t.Parallel()
	needRedis(t)
	files, err := filepath.Glob(filepath.Join("..", "lessons", "*", "lesson.txtar"))
	if err != nil || len(files) != 10 {
		t.Fatalf("found %d lessons, want 10: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			tell(t, "lesson", []string{file}, func(_ *story, env *testscript.Env) redisconn.Options {
				return redisconn.Options{Address: "localhost:" + env.Getenv("PORT")} // nobody is there
			})
		})
	}
}
