package lending

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

var due = time.Date(2026, 12, 20, 10, 0, 0, 0, time.UTC)

func TestAReceiptIsReadAsTheScriptsWriteIt(t *testing.T) {
	for _, test := range []struct {
		title, text string
		want        Receipt
	}{
		{
			"a request",
			`{"id":"r1","action":"request","user":"ann","books":["geb","a \"b\" \\","alice","dune","cities","emma"],"outcome":"partial",` +
				`"results":["front","already_yours:1797760800999","unavailable","shelves","over_limit","already_yours"],"due_ms":1797760800123}`,
			Receipt{ID: "r1", Action: Request, User: "ann", Outcome: Partial, Books: []Line{
				{Book: "geb", Result: Lent, From: FromFront, Due: due},
				{Book: `a "b" \`, Result: AlreadyYours, Due: due},
				{Book: "alice", Result: Unavailable},
				{Book: "dune", Result: Lent, From: FromShelves, Due: due},
				{Book: "cities", Result: OverLimit},
				{Book: "emma", Result: AlreadyYours},
			}},
		},
		{
			"a return",
			`{"id":"r2","action":"return","user":"<ann>","books":["geb","alice","dune"],"outcome":"partial","results":["returned","not_yours","on_its_way"]}`,
			Receipt{ID: "r2", Action: Return, User: "<ann>", Outcome: Partial, Books: []Line{
				{Book: "geb", Result: TakenBack}, {Book: "alice", Result: NotYours}, {Book: "dune", Result: OnItsWay},
			}},
		},
		{
			"a rejection",
			`{"id":"r3","action":"return","user":"","books":[],"outcome":"rejected","reason":"it has no user","results":[]}`,
			Receipt{ID: "r3", Action: Return, Outcome: Rejected, Reason: "it has no user", Books: []Line{}},
		},
		{
			"words for fewer books than there are",
			`{"id":"r4","action":"return","user":"ann","books":["geb","alice"],"outcome":"partial","results":["returned"]}`,
			Receipt{ID: "r4", Action: Return, User: "ann", Outcome: Partial, Books: []Line{{Book: "geb", Result: TakenBack}}},
		},
		{
			"words for more books than there are, of which one is of a later version",
			`{"id":"r5","action":"request","user":"ann","books":["geb"],"outcome":"held","results":["held","front"],"due_ms":1797760800123}`,
			Receipt{ID: "r5", Action: Request, User: "ann", Outcome: "held", Books: []Line{{Book: "geb", Result: "held"}}},
		},
	} {
		got, err := parseReceipt(test.text)
		if diff := cmp.Diff(&test.want, got); err != nil || diff != "" {
			t.Errorf("%s: parseReceipt = %v (-want +got):\n%s", test.title, err, diff)
		}
	}
}

// What getbooks prints is a promise, whatever the scripts write.
func TestAReceiptIsShownBookByBook(t *testing.T) {
	receipt, err := parseReceipt(`{"id":"r1","action":"request","user":"ann","books":["geb","alice"],"outcome":"partial","results":["front","unavailable"],"due_ms":1797760800123}`)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(receipt)
	want := `{"id":"r1","action":"request","user":"ann","outcome":"partial","books":[` +
		`{"book":"geb","result":"lent","from":"front","due":"2026-12-20T10:00:00Z"},{"book":"alice","result":"unavailable"}]}`
	if diff := cmp.Diff(want, string(text)); err != nil || diff != "" {
		t.Errorf("as JSON, %v (-want +got):\n%s", err, diff)
	}
}

func TestWhatIsNoReceiptIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "x", "[]", `"r1"`, `{"id":1}`, `{"books":{}}`, `{"books":[{"book":"geb"}]}`, `{"results":"front"}`, `{"due_ms":"soon"}`, `{"id":"r1"} x`,
	} {
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

func TestEventsAreReadFromTheLog(t *testing.T) {
	const (
		lent     = `{"id":"r1","action":"request","user":"ann","books":["geb","alice"],"outcome":"partial","results":["front","unavailable"],"due_ms":1797760800000}`
		denied   = `{"id":"r2","action":"request","user":"bob","books":["geb"],"outcome":"denied","results":["unavailable"]}`
		returned = `{"id":"r3","action":"return","user":"ann","books":["geb"],"outcome":"returned","results":["returned"]}`
		partial  = `{"id":"r4","action":"return","user":"ann","books":["geb"],"outcome":"partial","results":["returned"]}`
		refused  = `{"id":"r5","action":"return","user":"ann","books":["geb"],"outcome":"refused","results":["not_yours"]}`
		rejected = `{"id":"r6","action":"request","user":"","books":[],"outcome":"rejected","reason":"odd","results":[]}`
	)
	of := func(event, by, receipt string) Event {
		answer, err := parseReceipt(receipt)
		if err != nil {
			t.Fatal(err)
		}
		e := Event{Event: event, By: by, Receipt: answer, Request: answer.ID, User: answer.User}
		for _, line := range answer.Books {
			e.Books = append(e.Books, line.Book)
		}
		return e
	}
	granted := of("lent", "worker1", lent)
	if diff := cmp.Diff(&Receipt{ID: "r1", Action: Request, User: "ann", Outcome: Partial, Books: []Line{
		{Book: "geb", Result: Lent, From: FromFront, Due: due}, {Book: "alice", Result: Unavailable},
	}}, granted.Receipt); diff != "" {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
	at := time.UnixMilli(1797760800123).UTC()
	for _, test := range []struct {
		title  string
		values map[string]any
		want   []Event
	}{
		{"one decision", map[string]any{"event": "decided", "by": "worker1", "receipts": "[" + lent + "]"}, []Event{granted}},
		{
			"several decisions", map[string]any{"event": "decided", "by": "worker2", "receipts": "[" + strings.Join([]string{lent, denied, returned, partial, refused}, ",") + "]"},
			[]Event{
				of("lent", "worker2", lent), of("denied", "worker2", denied), of("returned", "worker2", returned), of("returned", "worker2", partial), of("refused", "worker2", refused),
			},
		},
		{"books fetched for two requests", map[string]any{"event": "fetched", "by": "worker1", "orders": `[["r1","geb"],["r2","a \"b\""]]`}, []Event{
			{Event: "fetched", By: "worker1", Request: "r1", Books: []string{"geb"}},
			{Event: "fetched", By: "worker1", Request: "r2", Books: []string{`a "b"`}},
		}},
		{"deliveries", map[string]any{"event": "delivered", "by": "worker1", "orders": `[["r1","geb","ann"],["r2","alice",""]]`}, []Event{
			{Event: "delivered", By: "worker1", Request: "r1", User: "ann", Books: []string{"geb"}},
			{Event: "delivered", By: "worker1", Request: "r2", Books: []string{"alice"}},
		}},
		{"orders of a later version", map[string]any{"event": "fetched", "orders": `[["r1","geb","ann","x"],[],["r2"]]`}, []Event{
			{Event: "fetched", Request: "r1", User: "ann", Books: []string{"geb"}}, {Event: "fetched"}, {Event: "fetched", Request: "r2"},
		}},
		{"books put away", map[string]any{"event": "shelved", "by": "worker1", "books": `["geb","a \"b\""]`}, []Event{
			{Event: "shelved", By: "worker1", Books: []string{"geb", `a "b"`}},
		}},
		{"a rejection with a receipt", map[string]any{"event": "rejected", "by": "worker1", "stream": "s", "entry": "1-1", "reason": "odd", "receipt": rejected}, []Event{{
			Event: "rejected", By: "worker1", Stream: "s", Entry: "1-1", Reason: "odd", Request: "r6",
			Receipt: &Receipt{ID: "r6", Action: Request, Outcome: Rejected, Reason: "odd", Books: []Line{}},
		}}},
		{"a rejection without a receipt", map[string]any{"event": "rejected", "by": "worker1", "stream": "s", "entry": "1-1", "reason": "odd", "receipt": ""}, []Event{
			{Event: "rejected", By: "worker1", Stream: "s", Entry: "1-1", Reason: "odd"},
		}},
		{"a retry", map[string]any{"event": "retried", "stream": "s", "entry": "1-2", "rejected": "1-1"}, []Event{{Event: "retried", Stream: "s", Entry: "1-2"}}},
		{"something of a later version", map[string]any{"event": "renewed", "colour": "red", "by": 7}, []Event{{Event: "renewed"}}},
		{"decisions that cannot be read", map[string]any{"event": "decided", "by": "worker1", "receipts": `[{"id":7`}, []Event{{Event: "decided", By: "worker1"}}},
		{"nothing", nil, []Event{{}}},
	} {
		var got []Event
		for _, event := range newEvents(redis.XMessage{ID: "1797760800123-4", Values: test.values}) {
			if event.ID != "1797760800123-4" || !event.Time.Equal(at) {
				t.Errorf("%s: an event has the id %s and the time %v", test.title, event.ID, event.Time)
			}
			event.ID, event.Time = "", time.Time{}
			got = append(got, *event)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
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

func FuzzNewEvents(f *testing.F) {
	const receipt = `{"id":"r1","action":"request","user":"ann","books":["geb"],"outcome":"granted","results":["front"],"due_ms":1797760800123}`
	f.Add("1797760800123-4", "decided", `[["r1","geb"]]`, `["alice"]`, receipt, "["+receipt+","+receipt+"]")
	f.Add("", "", "", "", "", "")
	f.Add("x-y", "odd", "[[\"g\xff\"]]", `{`, `null`, `[null]`)
	f.Add("99999999999999999999-0", "odd", "[null,[null]]", `[null,1]`, `{"books":null}`, `{}`)
	f.Fuzz(func(t *testing.T, id, event, orders, books, receipt, receipts string) {
		got := newEvents(redis.XMessage{ID: id, Values: map[string]any{
			"event": event, "orders": orders, "books": books, "receipt": receipt, "receipts": receipts, "user": "ann", "request": 7,
		}})
		if len(got) == 0 {
			t.Error("the entry tells of nothing")
		}
		for _, one := range got {
			if one.ID != id || one.Event != event && (event != "decided" || one.Receipt == nil) {
				t.Errorf("the event is %+v, want id %q and event %q", one, id, event)
			}
			if !one.Concerns("", "") {
				t.Error("the event does not concern just anybody")
			}
			if _, err := json.Marshal(one); err != nil {
				t.Errorf("the event cannot be printed as JSON: %v", err)
			}
		}
	})
}

func FuzzParseReceipt(f *testing.F) {
	f.Add(`{"id":"r1","action":"request","user":"ann","books":["geb","alice"],"outcome":"partial","results":["front","already_yours:1797760800123"],"due_ms":1797760800123}`)
	f.Add(`{"books":["geb"],"results":["shelves"],"due_ms":-9223372036854775808}`)
	f.Add(`{"books":["geb"],"results":["already_yours:99999999999999999999","front"]}`)
	f.Add(`{"books":null,"results":[null,""]}`)
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
