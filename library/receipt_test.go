package library

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
		got, err := ParseReceipt(test.text)
		if diff := cmp.Diff(&test.want, got); err != nil || diff != "" {
			t.Errorf("%s: ParseReceipt = %v (-want +got):\n%s", test.title, err, diff)
		}
	}
}

// What getbooks prints is a promise, whatever the scripts write.
func TestAReceiptIsShownBookByBook(t *testing.T) {
	receipt, err := ParseReceipt(`{"id":"r1","action":"request","user":"ann","books":["geb","alice"],"outcome":"partial","results":["front","unavailable"],"due_ms":1797760800123}`)
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
		if receipt, err := ParseReceipt(text); err == nil {
			t.Errorf("ParseReceipt(%s) = %+v, want an error", text, receipt)
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

func FuzzParseReceipt(f *testing.F) {
	f.Add(`{"id":"r1","action":"request","user":"ann","books":["geb","alice"],"outcome":"partial","results":["front","already_yours:1797760800123"],"due_ms":1797760800123}`)
	f.Add(`{"books":["geb"],"results":["shelves"],"due_ms":-9223372036854775808}`)
	f.Add(`{"books":["geb"],"results":["already_yours:99999999999999999999","front"]}`)
	f.Add(`{"books":null,"results":[null,""]}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		receipt, err := ParseReceipt(text)
		if (receipt == nil) == (err == nil) {
			t.Fatalf("ParseReceipt(%q) = %+v, %v, want one of both", text, receipt, err)
		}
		if err == nil {
			receipt.Summary()
		}
	})
}
