package simulation

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// shareFlag is set where this process is one of several that share a test's work.
var shareFlag = flag.String("share", "", "which share of the work is this process's, as 0/2")

// share tells which of how many shares is this process's; ok is false where it
// should give out the work.
func share() (this, of int, ok bool) {
	_, err := fmt.Sscanf(*shareFlag, "%d/%d", &this, &of)
	return this, of, err == nil
}

// giveOut runs the test anew in as many processes as there are cores, each with a
// share of the work, and returns what they printed after "share: ". They are
// processes of one thread each and not goroutines, so that in each of them one
// thing happens after the other, in the same order every time.
func giveOut(t *testing.T, args ...string) (told []string) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	cores := runtime.NumCPU()
	for i := range cores {
		group.Go(func() {
			command := exec.CommandContext(t.Context(), binary, append([]string{
				"-test.run", "^" + t.Name() + "$", "-test.timeout", "0", "-share", fmt.Sprintf("%d/%d", i, cores),
			}, args...)...)
			command.Env = append(os.Environ(), "GOMAXPROCS=1")
			output, err := command.CombinedOutput()
			mu.Lock()
			defer mu.Unlock()
			var rest []string
			for line := range strings.Lines(string(output)) {
				if text, ok := strings.CutPrefix(line, "share: "); ok {
					told = append(told, strings.TrimSuffix(text, "\n"))
				} else {
					rest = append(rest, line)
				}
			}
			if err != nil {
				t.Errorf("%s", strings.Join(rest, ""))
			}
		})
	}
	group.Wait()
	return told
}

// hangsAfter is in real time. A run takes milliseconds; where a goroutine waits for
// what testing/synctest cannot see, its clock stands still for ever.
const hangsAfter = 2 * time.Minute

// watch ends the process with every goroutine's stack if a run hangs.
func watch(replay string) (stop func()) {
	timer := time.AfterFunc(hangsAfter, func() { panic("a run hangs; replay it with: " + replay) })
	return func() { timer.Stop() }
}
