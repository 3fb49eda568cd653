package events

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"example.com/library/library"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

var due = time.Date(2026, 12, 20, 10, 0, 0, 0, time.UTC)

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
		answer, err := library.ParseReceipt(receipt)
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
	entered := granted
	entered.Entry = "1-1"
	if diff := cmp.Diff(&library.Receipt{ID: "r1", Action: library.Request, User: "ann", Outcome: library.Partial, Books: []library.Line{
		{Book: "geb", Result: library.Lent, From: library.FromFront, Due: due}, {Book: "alice", Result: library.Unavailable},
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
		{"a decision, and the entry that it came in", map[string]any{"event": "decided", "by": "worker1", "receipts": "[" + lent + "]", "entries": `["1-1"]`}, []Event{entered}},
		{"a decision, and entries that are not one each", map[string]any{"event": "decided", "by": "worker1", "receipts": "[" + lent + "]", "entries": `["1-1","1-2"]`}, []Event{granted}},
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
			Receipt: &library.Receipt{ID: "r6", Action: library.Request, Outcome: library.Rejected, Reason: "odd", Books: []library.Line{}},
		}}},
		{"a rejection without a receipt", map[string]any{"event": "rejected", "by": "worker1", "stream": "s", "entry": "1-1", "reason": "odd", "receipt": ""}, []Event{
			{Event: "rejected", By: "worker1", Stream: "s", Entry: "1-1", Reason: "odd"},
		}},
		{"a drop", map[string]any{"event": "dropped", "stream": "s", "entry": "1-2", "rejected": "1-1"}, []Event{{Event: "dropped", Stream: "s", Entry: "1-2", Rejected: "1-1"}}},
		{"a retry", map[string]any{"event": "retried", "stream": "s", "entry": "1-2", "rejected": "1-1"}, []Event{{Event: "retried", Stream: "s", Entry: "1-2", Rejected: "1-1"}}},
		{"something of a later version", map[string]any{"event": "renewed", "colour": "red", "by": 7}, []Event{{Event: "renewed"}}},
		{"decisions that cannot be read", map[string]any{"event": "decided", "by": "worker1", "receipts": `[{"id":7`}, []Event{{Event: "decided", By: "worker1"}}},
		{"nothing", nil, []Event{{}}},
	} {
		var got []Event
		for _, event := range Parse(redis.XMessage{ID: "1797760800123-4", Values: test.values}) {
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

func FuzzParse(f *testing.F) {
	const receipt = `{"id":"r1","action":"request","user":"ann","books":["geb"],"outcome":"granted","results":["front"],"due_ms":1797760800123}`
	f.Add("1797760800123-4", "decided", `[["r1","geb"]]`, `["alice"]`, receipt, "["+receipt+","+receipt+"]")
	f.Add("", "", "", "", "", "")
	f.Add("x-y", "odd", "[[\"g\xff\"]]", `{`, `null`, `[null]`)
	f.Add("99999999999999999999-0", "odd", "[null,[null]]", `[null,1]`, `{"books":null}`, `{}`)
	f.Fuzz(func(t *testing.T, id, event, orders, books, receipt, receipts string) {
		got := Parse(redis.XMessage{ID: id, Values: map[string]any{
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
