package lending

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

var due = time.Date(2026, 12, 20, 10, 0, 0, 0, time.UTC)

func TestAReceiptIsReadAsTheScriptsWriteIt(t *testing.T) {
	text := `{"id":"r1","action":"request","user":"ann","outcome":"partial","books":[` +
		`{"book":"geb","result":"lent","from":"front","due_ms":1797760800123},` +
		`{"book":"a \"b\" \\","result":"already_yours","due_ms":1797760800999},` +
		`{"book":"alice","result":"unavailable"}]}`
	want := &Receipt{ID: "r1", Action: Request, User: "ann", Outcome: Partial, Books: []Line{
		{Book: "geb", Result: Lent, From: FromFront, Due: due},
		{Book: `a "b" \`, Result: AlreadyYours, Due: due},
		{Book: "alice", Result: Unavailable},
	}}
	got, err := parseReceipt(text)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("parseReceipt = %v (-want +got):\n%s", err, diff)
	}
}

func TestAReceiptOfARejectionIsReadToo(t *testing.T) {
	want := &Receipt{ID: "r1", Action: Return, Outcome: Rejected, Reason: "it has no user", Books: []Line{}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseReceipt(string(text))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("parseReceipt = %v (-want +got):\n%s", err, diff)
	}
}

func TestWhatIsNoReceiptIsRefused(t *testing.T) {
	for _, text := range []string{"", "x", "[]", `"r1"`, `{"id":1}`, `{"books":{}}`, `{"books":[{"due_ms":"soon"}]}`, `{"id":"r1"} x`} {
		if receipt, err := parseReceipt(text); err == nil {
			t.Errorf("parseReceipt(%s) = %+v, want an error", text, receipt)
		}
	}
}

func TestAReceiptKnowsTheOrderItAnswers(t *testing.T) {
	receipt := &Receipt{ID: "r1", Action: Request, User: "ann", Books: []Line{{Book: "geb"}, {Book: "alice"}}}
	for title, test := range map[string]struct {
		order Order
		want  bool
	}{
		"its order":     {Order{Action: Request, User: "ann", Books: []string{"geb", "alice"}}, true},
		"a return":      {Order{Action: Return, User: "ann", Books: []string{"geb", "alice"}}, false},
		"another user":  {Order{Action: Request, User: "bob", Books: []string{"geb", "alice"}}, false},
		"a book less":   {Order{Action: Request, User: "ann", Books: []string{"geb"}}, false},
		"another book":  {Order{Action: Request, User: "ann", Books: []string{"geb", "cities"}}, false},
		"one book more": {Order{Action: Request, User: "ann", Books: []string{"geb", "alice", "cities"}}, false},
	} {
		if got := receipt.answers(test.order); got != test.want {
			t.Errorf("%s: answers = %v, want %v", title, got, test.want)
		}
	}
}

func TestASummaryTellsWhatBecameOfEachBook(t *testing.T) {
	receipt := &Receipt{Books: []Line{
		{Book: "geb", Result: Lent, From: FromFront}, {Book: "alice", Result: Lent, From: FromShelves},
		{Book: "cities", Result: AlreadyYours}, {Book: "dune", Result: OverLimit},
	}}
	want := "geb lent from front; alice lent from the shelves; cities already yours; dune over limit"
	if got := receipt.Summary(); got != want {
		t.Errorf("Summary = %q, want %q", got, want)
	}
}

func TestAnEventIsReadFromTheLog(t *testing.T) {
	receipt := `{"id":"r1","action":"request","user":"ann","outcome":"granted","books":[{"book":"geb","result":"lent","from":"front","due_ms":1797760800000},{"book":"alice","result":"unavailable"}]}`
	at := time.UnixMilli(1797760800123).UTC()
	for _, test := range []struct {
		title  string
		values map[string]any
		want   Event
	}{
		{"a loan", map[string]any{"event": "lent", "by": "worker1", "receipt": receipt}, Event{
			Event: "lent", By: "worker1", Request: "r1", User: "ann", Books: []string{"geb", "alice"},
			Receipt: &Receipt{ID: "r1", Action: Request, User: "ann", Outcome: Granted, Books: []Line{
				{Book: "geb", Result: Lent, From: FromFront, Due: due}, {Book: "alice", Result: Unavailable},
			}},
		}},
		{"a delivery", map[string]any{"event": "delivered", "by": "worker1", "request": "r1", "book": "geb", "user": "ann"}, Event{
			Event: "delivered", By: "worker1", Request: "r1", User: "ann", Books: []string{"geb"},
		}},
		{"books put away", map[string]any{"event": "shelved", "by": "worker1", "books": `["geb","a \"b\""]`}, Event{
			Event: "shelved", By: "worker1", Books: []string{"geb", `a "b"`},
		}},
		{"a rejection without a receipt", map[string]any{"event": "rejected", "by": "worker1", "stream": "s", "entry": "1-1", "reason": "odd", "receipt": ""}, Event{
			Event: "rejected", By: "worker1", Stream: "s", Entry: "1-1", Reason: "odd",
		}},
		{"something of a later version", map[string]any{"event": "renewed", "colour": "red", "by": 7}, Event{Event: "renewed"}},
		{"nothing", nil, Event{}},
	} {
		test.want.ID, test.want.Time = "1797760800123-4", at
		if diff := cmp.Diff(&test.want, newEvent(redis.XMessage{ID: "1797760800123-4", Values: test.values})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.title, diff)
		}
	}
}

func TestAnEventConcernsItsUserAndItsBooks(t *testing.T) {
	event := &Event{User: "ann", Books: []string{"geb", "alice"}}
	for _, test := range []struct {
		user, book string
		want       bool
	}{
		{"", "", true}, {"ann", "", true}, {"", "geb", true}, {"", "alice", true}, {"ann", "alice", true},
		{"bob", "", false}, {"", "cities", false}, {"ann", "cities", false}, {"bob", "geb", false},
	} {
		if got := event.Concerns(test.user, test.book); got != test.want {
			t.Errorf("Concerns(%q, %q) = %v, want %v", test.user, test.book, got, test.want)
		}
	}
}

func FuzzNewEvent(f *testing.F) {
	f.Add("1797760800123-4", "lent", "geb", `["alice"]`, `{"id":"r1","user":"ann","books":[{"book":"geb"}]}`)
	f.Add("", "", "", "", "")
	f.Add("x-y", "odd", "g\xff", `{`, `null`)
	f.Add("99999999999999999999-0", "odd", "", `[null,1]`, `{"books":null}`)
	f.Fuzz(func(t *testing.T, id, event, book, books, receipt string) {
		got := newEvent(redis.XMessage{ID: id, Values: map[string]any{
			"event": event, "book": book, "books": books, "receipt": receipt, "user": "ann", "request": 7,
		}})
		if got.ID != id || got.Event != event {
			t.Errorf("the event is %+v, want id %q and event %q", got, id, event)
		}
		if !got.Concerns("", "") {
			t.Error("the event does not concern just anybody")
		}
		if _, err := json.Marshal(got); err != nil && got.Time.Year() < 10000 {
			t.Errorf("the event cannot be printed as JSON: %v", err)
		}
	})
}

func FuzzParseReceipt(f *testing.F) {
	f.Add(`{"id":"r1","action":"request","user":"ann","outcome":"partial","books":[{"book":"geb","result":"lent","from":"front","due_ms":1797760800123}]}`)
	f.Add(`{"books":[{"due_ms":-9223372036854775808}]}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		receipt, err := parseReceipt(text)
		if (receipt == nil) == (err == nil) {
			t.Fatalf("parseReceipt(%q) = %+v, %v, want one of both", text, receipt, err)
		}
		if err == nil {
			receipt.Summary()
			receipt.answers(Order{})
		}
	})
}
