package browser

import (
	"context"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// complain fails the test for what the browser complains about from now on: a script that
// throws, or something that the Content-Security-Policy forbids.
func (s *scene) complain(ctx context.Context, tab *chromedp.Target) error {
	thrown, entries := cdp.Events(s.tab, tab, runtime.ExceptionThrown), cdp.Events(s.tab, tab, log.EntryAdded)
	go func() {
		for event, err := range thrown {
			if err == nil {
				s.t.Errorf("a script of the page failed: %+v", event.ExceptionDetails)
			}
		}
	}()
	go func() {
		for event, err := range entries {
			if err == nil && (event.Entry.Source == log.EntrySourceSecurity || event.Entry.Source == log.EntrySourceJavascript) {
				s.t.Errorf("the browser complains: %s", event.Entry.Text)
			}
		}
	}()
	return nil
}
