package cmd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"example.com/library/redisconn"

	"github.com/rogpeppe/go-internal/testscript"
)

// Each lesson is gone through as lendingd lesson does without a terminal. It has servers of
// its own.
func TestLessons(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"redis-cli", "redis-server"} {
		if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") != "true" {
			t.Skipf("the lessons need %s, which is not on PATH", program)
		}
	}
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
