// Package browser looks at the gateway's page as people do: in a real browser.
package browser

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/library/internal/patience"
	"example.com/library/internal/programtest"
	"example.com/library/internal/redistest"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

var screenshot = flag.String("screenshot", "", "write a picture of the busy page to this `FILE`")

var warmUp = flag.Duration("warm-up", 40*time.Second, "how long the library is busy before that")

func TestMain(m *testing.M) {
	flag.Parse()
	programtest.Main(m)
}

// chromium is the path of a browser, or the test ends.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "no Chromium is on PATH; install it with `apt-get install chromium`"
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s needs a browser, but %s", t.Name(), missing)
	}
	t.Skipf("%s needs a browser and is left out, because %s", t.Name(), missing)
	return ""
}

// A scene is a library on a server of its own, with workers, a gateway, and a browser
// that has its page open.
type scene struct {
	t       *testing.T
	env     []string
	workers map[string]*programtest.Process
	gateway *programtest.Process
	address string
	tab     context.Context
}

func begin(t *testing.T, workers ...string) *scene {
	t.Helper()
	browser := chromium(t)
	server := redistest.Start(t)
	s := &scene{t: t, env: []string{"LENDING_ADDRESS=" + server.URL(), "LENDING_TIMEOUT=3m"}, workers: map[string]*programtest.Process{}}
	for _, name := range workers {
		s.work(name)
	}
	s.gateway = programtest.Start(t, s.env, "lendingd", "gateway", "--http", "localhost:0")
	if err := s.gateway.Await(`url=\S+`); err != nil {
		t.Fatal(err)
	}
	s.address = strings.TrimPrefix(regexp.MustCompile(`url=\S+`).FindString(s.gateway.Output()), "url=")

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox)
	allocator, cancel := chromedp.NewExecAllocator(patience.Deadline(t), options...)
	t.Cleanup(cancel)
	tab, cancelTab := chromedp.NewContext(allocator)
	t.Cleanup(cancelTab)
	s.tab = tab
	s.do(chromedp.Func(s.complain), chromedp.Navigate(s.address), chromedp.WaitVisible(`body[data-feed="open"]`))
	return s
}

// work starts a worker whose shelves are slow enough to be seen.
func (s *scene) work(name string, flags ...string) {
	s.t.Helper()
	worker := programtest.Start(s.t, s.env, "lendingd", append(flags, "--lock-ttl", "1s", name)...)
	if err := worker.Await("serving"); err != nil {
		s.t.Fatal(err)
	}
	s.workers[name] = worker
}

func (s *scene) do(actions ...chromedp.Action[chromedp.Void]) {
	s.t.Helper()
	if _, err := chromedp.Run(s.tab, chromedp.Steps(actions...)); err != nil {
		s.t.Fatalf("in the browser: %v", err)
	}
}

// pageLeft is in an error that says that the page was left before it had answered.
const pageLeft = "context with specified id"

// await waits until the page says something somewhere.
func (s *scene) await(selector, pattern string) {
	s.t.Helper()
	script := fmt.Sprintf(`[...document.querySelectorAll(%q)].some((e) => new RegExp(%q, "s").test(e.textContent))`, selector, pattern)
	_, err := chromedp.Run(s.tab, chromedp.Poll[bool](script, chromedp.WithPollingTimeout(patience.Long)))
	for err != nil && strings.Contains(err.Error(), pageLeft) {
		_, err = chromedp.Run(s.tab, chromedp.Poll[bool](script, chromedp.WithPollingTimeout(patience.Long)))
	}
	if err != nil {
		text, _ := chromedp.Run(s.tab, chromedp.Text("body")) // what it says is told as far as it says anything
		s.t.Fatalf("%s does not say %q: %v; the page says:\n%s", selector, pattern, err, text)
	}
}

// follow follows a link that is there, or comes. The page may draw it anew at any moment,
// so it is looked for and clicked in one step.
func (s *scene) follow(selector string) {
	s.t.Helper()
	script := fmt.Sprintf(`(() => { const a = document.querySelector(%q); a?.click(); return a !== null })()`, selector)
	_, err := chromedp.Run(s.tab, chromedp.Poll[bool](script, chromedp.WithPollingTimeout(patience.Long)))
	if err != nil && !strings.Contains(err.Error(), pageLeft) {
		s.t.Fatalf("follow %s: %v", selector, err)
	}
}

// ask sends the form.
func (s *scene) ask(action, user, books string) {
	s.t.Helper()
	s.do(
		chromedp.SetValue(`#ask [name=user]`, user), chromedp.SetValue(`#ask [name=books]`, books),
		chromedp.Click(`#ask button[value=`+action+`]`),
	)
}

func TestAnOrderIsSeenStepByStep(t *testing.T) {
	s := begin(t, "worker1")
	s.ask("request", "ann", "geb\nalice-in-wonderland")
	s.await("#chain", `appended.*lent.*fetched.*delivered.*done`)
	s.await("#cards", `ann.*geb, alice-in-wonderland`)
	s.await("[data-lent]", `^2$`)
	s.ask("return", "ann", "geb")
	s.await("#chain", `appended.*returned.*done`)
	s.await("[data-front]", `^1$`)

	s.ask("request", "bob", "alice-in-wonderland")
	s.await("#chain", `denied.*unavailable`)

	s.follow(`#chain a[href^="/orders/"]`)
	s.do(chromedp.WaitVisible("#story"))
	s.await("#story", `denied.*bob.*alice-in-wonderland.*worker1`)
	s.do(chromedp.SetValue(`.search [name=q]`, "ann"), chromedp.Submit(`.search [name=q]`))
	s.await("h1", `^ann$`)
	s.await("table", `alice-in-wonderland.*in hand`)
	s.follow(`table a[href^="/books/"]`)
	s.await("main", `is lent\s+to ann`)
}

func TestWhatADeadWorkerLeftIsSeenToBeTakenOver(t *testing.T) {
	s := begin(t, "worker1")
	s.work("shelver1", "--service", "shelving", "--fetch-time", "10m")
	s.await("#shelving", `shelver1`)
	if err := s.workers["worker1"].Signal(syscall.SIGSTOP); err != nil { // so that shelver1 is given the fetch
		t.Fatal(err)
	}
	s.await("#lending .instances", `its lock ran out|nobody runs`)
	s.ask("request", "ann", "geb")
	s.await(`[data-stream="lending:requests"]`, `1 unread|1 pending`)
	if err := s.workers["worker1"].Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.await("#chain", `appended.*lent`)
	s.workers["shelver1"].Kill()
	s.await("#shelving .instance.gone, #shelving .instances", `shelver1.*its lock ran out|worker1`)
	s.await("#chain", `fetched.*delivered.*done`)
}

func TestAStoppedServiceIsSeenToWaitAndToComeBack(t *testing.T) {
	s := begin(t)
	s.work("desk1", "--service", "lending")
	s.ask("request", "ann", "geb")
	s.await("#chain", `lent.*on its way from the shelves`)
	s.await(`[data-stream="shelving:fetches"]`, `1 unread`)
	s.await("#shelving", `nobody runs shelving`)
	s.work("stacks1", "--service", "shelving")
	s.await("#chain", `fetched.*delivered.*done`)
	s.await(`[data-stream="shelving:fetches"]`, `0 unread`)
}

// The picture that the README begins with, at three sizes, while the library is busy.
func TestScreenshot(t *testing.T) {
	if *screenshot == "" {
		t.Skip("without -screenshot no picture is made; make screenshot makes one")
	}
	s := begin(t)
	for _, name := range []string{"worker1", "worker2", "worker3"} {
		s.work(name, "--fetch-time", "2s")
	}
	stop, busy := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(busy)
		books := []string{"alice-in-wonderland", "geb", "invisible-cities", "dune", "war, and peace", "紅楼夢", "moby-dick", "emma", "ulysses", "beloved", "hamlet", "middlemarch"}
		users := []string{"ann", "bob", "carol", "dan", "eve", "frida", "gil"}
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(120 * time.Millisecond):
			}
			action := []string{"request", "request", "return"}[n*7%3]
			order := exec.Command("getbooks", action, "--no-wait", users[n*5%7], books[n*3%12], books[(n*3+n%7+1)%12])
			order.Env = append(os.Environ(), s.env...)
			_ = order.Run() // a denial is fine
		}
	}()
	defer func() { close(stop); <-busy }()
	s.do(chromedp.EmulateViewport(1600, 1000), chromedp.Sleep(*warmUp))
	s.ask("request", "zoe", "wuthering-heights\nthe-trial")
	s.await("#chain", `lent`)
	for _, shot := range []struct {
		suffix        string
		width, height int64
		scheme        string
	}{{"", 1600, 1000, "dark"}, {"-light", 1100, 900, "light"}, {"-narrow", 420, 1400, "dark"}} {
		s.do(
			chromedp.EmulateViewport(shot.width, shot.height),
			chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
				_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: shot.scheme}},
				})
				return err
			}),
			chromedp.Sleep(1500*time.Millisecond),
		)
		picture, err := chromedp.Run(s.tab, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		ending := filepath.Ext(*screenshot)
		path := strings.TrimSuffix(*screenshot, ending) + shot.suffix + ending
		if err := os.WriteFile(path, picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
