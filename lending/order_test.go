package lending

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/library/library"
	"example.com/library/worker"

	"github.com/google/go-cmp/cmp"
)

func TestANewOrderNamesEachBookOnceInTheFormTheLibraryKnows(t *testing.T) {
	seen := map[string]bool{}
	for _, action := range []library.Action{library.Request, library.Return} {
		order, err := NewOrder(action, "Zoe\u0308", "geb", "Go\u0308del", "geb", "Gödel", "alice")
		if err != nil {
			t.Fatal(err)
		}
		if library.CheckID("id", order.ID) != nil || len(order.ID) != 32 || seen[order.ID] {
			t.Errorf("the id is %q, want 128 new random bits", order.ID)
		}
		seen[order.ID] = true
		want := Order{ID: order.ID, Action: action, User: "Zoë", Books: []string{"geb", "Gödel", "alice"}}
		if diff := cmp.Diff(want, order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	}
}

// Books were lent before the rule for new names was made. They must come back.
func TestAMisleadingNameMayComeBackButNotBeLent(t *testing.T) {
	const book, user = "g\u3164eb", "ali\u00a0ce"
	for _, names := range [][2]string{{"user1", book}, {user, "geb"}} {
		if _, err := NewOrder(library.Request, names[0], names[1]); !errors.Is(err, ErrOrder) || !errors.Is(err, library.ErrName) {
			t.Errorf("a request of %q: %v, want an error that wraps ErrOrder and ErrName", names, err)
		}
		if order, err := NewOrder(library.Return, names[0], names[1]); err != nil || order.Books[0] != names[1] {
			t.Errorf("a return of %q: %q, %v", names, order.Books, err)
		}
		entry := worker.Entry{Fields: map[string]string{"id": "a", "user": names[0], "books": `["` + names[1] + `"]`}}
		if _, err := readOrder(library.Request, entry); !errors.Is(err, library.ErrName) {
			t.Errorf("the service reads a request of %q: %v, want an error that wraps ErrName", names, err)
		}
		if _, err := readOrder(library.Return, entry); err != nil {
			t.Errorf("the service reads a return of %q: %v", names, err)
		}
	}
}

func books(n int) []string {
	books := make([]string, n)
	for i := range books {
		books[i] = fmt.Sprint("book ", i)
	}
	return books
}

func TestAnOrderThatBreaksARuleIsNotMade(t *testing.T) {
	for _, test := range []struct {
		title, user string
		books       []string
		fault       string
	}{
		{"no book", "ann", nil, "no book"},
		{"too many books", "ann", books(101), "101 books; at most 100"},
		{"no user", "", books(1), "user"},
		{"a bad user", "ann\n", books(1), "user"},
		{"an empty book", "ann", []string{"geb", ""}, "book"},
		{"a bad book", "ann", []string{"geb", "g\x1beb"}, "U+001B"},
		{"a long book", "ann", []string{strings.Repeat("x", 257)}, "257 bytes"},
	} {
		if order, err := NewOrder(library.Request, test.user, test.books...); !errors.Is(err, ErrOrder) || !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: NewOrder = %+v, %v, want an error that wraps ErrOrder and tells of %q", test.title, order, err, test.fault)
		}
	}
	if _, err := NewOrder(library.Request, "ann", books(100)...); err != nil {
		t.Errorf("100 books: %v", err)
	}
	if order, err := NewOrder(library.Request, "ann", append(books(100), books(100)...)...); err != nil || len(order.Books) != 100 {
		t.Errorf("100 books, each twice: %d books, %v", len(order.Books), err)
	}
}

// An order that a caller made by hand can break rules that NewOrder keeps.
func TestAnOrderMadeByHandIsCheckedBeforeItIsSent(t *testing.T) {
	good := Order{ID: "r1", Action: library.Request, User: "ann", Books: []string{"geb"}}
	if err := good.check(); err != nil {
		t.Fatalf("check of a good order = %v", err)
	}
	for title, spoil := range map[string]func(*Order){
		"no id":            func(o *Order) { o.ID = "" },
		"an id with a dot": func(o *Order) { o.ID = "r.1" },
		"no user":          func(o *Order) { o.User = "" },
		"a user not NFC":   func(o *Order) { o.User = "Zoe\u0308" },
		"no book":          func(o *Order) { o.Books = nil },
		"a book not NFC":   func(o *Order) { o.Books = []string{"Go\u0308del"} },
		"a bad book":       func(o *Order) { o.Books = []string{"geb", "g\neb"} },
		"too many books":   func(o *Order) { o.Books = books(101) },
		"a book twice":     func(o *Order) { o.Books = []string{"geb", "alice", "geb"} },
		"no action":        func(o *Order) { o.Action = "" },
		"another action":   func(o *Order) { o.Action = "renew" },
	} {
		order := good
		spoil(&order)
		if err := order.check(); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: check = %v, want an error that wraps ErrOrder", title, err)
		}
	}
}

// array is the JSON array of texts.
func array(texts ...string) string {
	text, err := json.Marshal(texts)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestAnEntryIsReadAsAnOrderOrTellsWhatIsWrong(t *testing.T) {
	fields := func(changes ...string) map[string]string {
		fields := map[string]string{"id": "r1", "user": "ann", "books": `["geb","alice"]`, "bell": "B1"}
		for i := 0; i < len(changes); i += 2 {
			if fields[changes[i]] = changes[i+1]; changes[i+1] == "-" {
				delete(fields, changes[i])
			}
		}
		return fields
	}
	good := placed{Order: Order{ID: "r1", Action: library.Return, User: "ann", Books: []string{"geb", "alice"}}, bell: "B1"}
	with := func(change func(*placed)) placed {
		order := good
		order.Books = slices.Clone(good.Books)
		change(&order)
		return order
	}
	for _, test := range []struct {
		title  string
		fields map[string]string
		want   placed
		fault  string // empty if there is none
	}{
		{"all fields", fields(), good, ""},
		{"no bell", fields("bell", "-"), with(func(o *placed) { o.bell = "" }), ""},
		{"an empty bell", fields("bell", ""), with(func(o *placed) { o.bell = "" }), ""},
		{"a field that nobody knows", fields("colour", "red"), good, ""},
		{"a book twice", fields("books", `["geb","alice","geb","alice"]`), good, ""},
		{"white space in the array", fields("books", " [ \"geb\" ,\n\"alice\" ] "), good, ""},
		{"escapes in the array", fields("books", `["\u0067eb","alice"]`), good, ""},
		{"odd but good names", fields("user", `{"a":1}`, "books", `["[]","\"","\\"]`), with(func(o *placed) {
			o.User, o.Books = `{"a":1}`, []string{"[]", `"`, `\`}
		}), ""},
		{"100 books", fields("books", array(books(100)...)), with(func(o *placed) { o.Books = books(100) }), ""},

		{"no id", fields("id", "-"), placed{}, `no field "id"`},
		{"an empty id", fields("id", ""), placed{}, `id ""`},
		{"a bad id", fields("id", "r 1"), placed{}, `id "r 1"`},
		{"a long id", fields("id", strings.Repeat("r", 65)), placed{}, "1 to 64"},
		{"no user", fields("user", "-"), placed{Order: Order{ID: "r1"}}, `no field "user"`},
		{"an empty user", fields("user", ""), placed{Order: Order{ID: "r1"}}, "user"},
		{"a bad user", fields("user", "ann\x1b"), placed{Order: Order{ID: "r1"}}, "U+001B"},
		{"a user that is not UTF-8", fields("user", "ann\xff"), placed{Order: Order{ID: "r1"}}, "not valid UTF-8"},
		{"a user that is not NFC", fields("user", "Zoe\u0308"), placed{Order: Order{ID: "r1"}}, "NFC"},
		{"a bad bell", fields("bell", "B 1"), placed{Order: Order{ID: "r1"}}, "bell"},
		{"a bell that is a pattern", fields("bell", "*"), placed{Order: Order{ID: "r1"}}, "bell"},
		{"no books", fields("books", "-"), placed{Order: Order{ID: "r1"}}, `no field "books"`},
		{"empty books", fields("books", ""), placed{Order: Order{ID: "r1"}}, "not a JSON array"},
		{"an empty array", fields("books", "[]"), placed{Order: Order{ID: "r1"}}, "no book"},
		{"null", fields("books", "null"), placed{Order: Order{ID: "r1"}}, "no book"},
		{"a text", fields("books", `"geb"`), placed{Order: Order{ID: "r1"}}, "not a JSON array"},
		{"an object", fields("books", `{"geb":1}`), placed{Order: Order{ID: "r1"}}, "not a JSON array"},
		{"numbers", fields("books", `[1]`), placed{Order: Order{ID: "r1"}}, "not a JSON array"},
		{"a null among them", fields("books", `["geb",null]`), placed{Order: Order{ID: "r1"}}, "empty"},
		{"an array in the array", fields("books", `[["geb"]]`), placed{Order: Order{ID: "r1"}}, "not a JSON array"},
		{"half an array", fields("books", `["geb"`), placed{Order: Order{ID: "r1"}}, "not a JSON array"},
		{"two arrays", fields("books", `["geb"]["alice"]`), placed{Order: Order{ID: "r1"}}, "not a JSON array"},
		{"an empty book", fields("books", `["geb",""]`), placed{Order: Order{ID: "r1"}}, "empty"},
		{"a bad book", fields("books", `["g\u0000eb"]`), placed{Order: Order{ID: "r1"}}, "U+0000"},
		{"half a surrogate pair", fields("books", `["\ud83d"]`), placed{Order: Order{ID: "r1"}}, "U+FFFD"},
		{"bytes that are not UTF-8", fields("books", "[\"g\xffeb\"]"), placed{Order: Order{ID: "r1"}}, "not valid UTF-8"},
		{"a book that is not NFC", fields("books", `["Go\u0308del"]`), placed{Order: Order{ID: "r1"}}, "NFC"},
		{"a long book", fields("books", array(strings.Repeat("x", 257))), placed{Order: Order{ID: "r1"}}, "257 bytes"},
		{"101 books", fields("books", array(books(101)...)), placed{Order: Order{ID: "r1"}}, "at most 100"},
	} {
		t.Run(test.title, func(t *testing.T) {
			entry := worker.Entry{ID: "7-1", Fields: test.fields, Deliveries: 1}
			got, err := readOrder(library.Return, entry)
			if got.Action != library.Return || !cmp.Equal(got.entry, entry) {
				t.Errorf("the order is a %q of entry %+v", got.Action, got.entry)
			}
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("readOrder = %v, want an error that tells of %q", err, test.fault)
				}
				if got.ID != test.want.ID {
					t.Errorf("the order's id is %q, want %q", got.ID, test.want.ID)
				}
				return
			}
			if err != nil {
				t.Fatalf("readOrder = %v", err)
			}
			if diff := cmp.Diff(test.want.Order, got.Order); diff != "" || got.bell != test.want.bell {
				t.Errorf("bell %q, want %q, order (-want +got):\n%s", got.bell, test.want.bell, diff)
			}
		})
	}
}

func TestAnOrderIsReadAsItWasSent(t *testing.T) {
	order, err := NewOrder(library.Request, `Zoë "the reader"`, "Gödel, Escher, Bach", `a\b`, "<script>&", "한글 📚", "[]", "null")
	if err != nil {
		t.Fatal(err)
	}
	for _, bell := range []string{"", "B1"} {
		values := order.values(bell)
		fields := map[string]string{}
		for i := 0; i < len(values); i += 2 {
			fields[values[i].(string)] = values[i+1].(string)
		}
		got, err := readOrder(library.Request, worker.Entry{ID: "7-1", Fields: fields})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(order, got.Order); diff != "" || got.bell != bell {
			t.Errorf("bell %q, want %q, order (-want +got):\n%s", got.bell, bell, diff)
		}
	}
}

// oddNames are names that a librarian may well write, and that JSON must escape or
// might trip over.
var oddNames = []string{
	`"`, `\`, `\"`, `"\`, `\\`, `\u0041`, `","books":["`, `"]}`, `</script>`, "&lt;", "a/b", `{"a":1}`, "[]", "null", "%s", "'", "`",
	"Zoë", "한글", "📚", "½", strings.Repeat(`"`, 256), strings.Repeat(`\`, 256),
}

// wantSlip checks that an order's slip, closed, is JSON that tells just the order.
func wantSlip(t *testing.T, order Order) {
	t.Helper()
	want, err := json.Marshal(map[string]any{"id": order.ID, "action": order.Action, "user": order.User, "books": order.Books})
	if err != nil {
		t.Fatal(err)
	}
	var wanted, got map[string]any
	if err := json.Unmarshal(want, &wanted); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(order.slip()+"}"), &got); err != nil {
		t.Fatalf("the slip %s: %v", order.slip(), err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("the slip %s (-want +got):\n%s", order.slip(), diff)
	}
	// The scripts close it so.
	stored := order.slip() + `,"outcome":"denied","results":["` + strings.Repeat(`unavailable","`, len(order.Books)-1) + `unavailable"]}`
	receipt, err := library.ParseReceipt(stored)
	if err != nil || receipt.ID != order.ID || receipt.Outcome != library.Denied || !order.answeredBy(receipt) {
		t.Errorf("the receipt %s is %+v, %v", stored, receipt, err)
	}
	if strings.Contains(order.slip(), `"outcome":`) {
		t.Errorf("the slip %s has an outcome", order.slip()) // retry.lua looks for that
	}
}

func TestASlipTellsTheOrderWhateverTheNames(t *testing.T) {
	order := Order{ID: "r1", Action: library.Return, User: `a "b"`, Books: []string{`c\d`, "e"}}
	if diff := cmp.Diff(`{"id":"r1","action":"return","user":"a \"b\"","books":["c\\d","e"]`, order.slip()); diff != "" {
		t.Errorf("slip (-want +got):\n%s", diff)
	}
	wantSlip(t, Order{ID: strings.Repeat("r", 64), Action: library.Request, User: "ann", Books: books(100)})
	wantSlip(t, newOrder(t, library.Request, "ann", append(oddNames, `"outcome":"rejected"`)...))
	wantSlip(t, newOrder(t, library.Return, "a\u00a0b", "x\u00a0x", "\ue000", "\ufffe"))
	for _, name := range oddNames {
		wantSlip(t, newOrder(t, library.Request, name, "geb"))
		wantSlip(t, newOrder(t, library.Return, "ann", name))
		wantSlip(t, newOrder(t, library.Return, name, name, "geb"))
	}
}

func FuzzReadOrder(f *testing.F) {
	f.Add("r1", "ann", `["geb","alice"]`, "B1")
	f.Add("r1", "ann", `["geb","geb"]`, "")
	for _, name := range oddNames {
		f.Add("r1", name, array(name, "geb"), "B1")
	}
	f.Add("", "", "", "")
	f.Add("r1", "Zoe\u0308", `["\ud83d"]`, "B1")
	f.Add("r1", "ann\xff", "[\"\xff\"]", "*")
	f.Add("r1", "ann", `[null]`, "")
	f.Add("r1", "ann", array(books(101)...), "")
	f.Add("r1", "ann", strings.Repeat("[", 20000), "")
	f.Fuzz(func(t *testing.T, id, user, books, bell string) {
		entry := worker.Entry{ID: "7-1", Fields: map[string]string{"id": id, "user": user, "books": books, "bell": bell}}
		order, err := readOrder(library.Request, entry)
		if order.ID != "" && order.ID != id {
			t.Errorf("the order's id is %q, and the entry's %q", order.ID, id)
		}
		if err == nil {
			if err := order.check(); err != nil {
				t.Errorf("an order was accepted that breaks a rule: %v", err)
			}
			if sorted := slices.Sorted(slices.Values(order.Books)); len(slices.Compact(sorted)) != len(order.Books) {
				t.Errorf("the order names a book twice: %q", order.Books)
			}
			if bell != order.bell {
				t.Errorf("the bell is %q, want %q", order.bell, bell)
			}
			wantSlip(t, order.Order)
		}
		// What is set aside has a receipt that can be read, if it has an id.
		service := NewService(Config{})
		rejection := service.rejection(order, "for a test")
		if (rejection.Receipt != "") != (order.ID != "") {
			t.Errorf("the rejection of an order with id %q has the receipt %q", order.ID, rejection.Receipt)
		}
		if rejection.Receipt != "" {
			receipt, err := library.ParseReceipt(rejection.Receipt)
			if err != nil || receipt.ID != id || receipt.Outcome != library.Rejected || receipt.Reason != "for a test" {
				t.Errorf("the receipt of a rejection is %+v, %v", receipt, err)
			}
		}
	})
}

func TestAReceiptKnowsTheOrderItAnswers(t *testing.T) {
	receipt := &library.Receipt{ID: "r1", Action: library.Request, User: "ann", Books: []library.Line{{Book: "geb"}, {Book: "alice"}}}
	for title, test := range map[string]struct {
		order Order
		want  bool
	}{
		"its order":     {Order{Action: library.Request, User: "ann", Books: []string{"geb", "alice"}}, true},
		"a return":      {Order{Action: library.Return, User: "ann", Books: []string{"geb", "alice"}}, false},
		"another user":  {Order{Action: library.Request, User: "bob", Books: []string{"geb", "alice"}}, false},
		"a book less":   {Order{Action: library.Request, User: "ann", Books: []string{"geb"}}, false},
		"another book":  {Order{Action: library.Request, User: "ann", Books: []string{"geb", "cities"}}, false},
		"one book more": {Order{Action: library.Request, User: "ann", Books: []string{"geb", "alice", "cities"}}, false},
	} {
		if got := test.order.answeredBy(receipt); got != test.want {
			t.Errorf("%s: answers = %v, want %v", title, got, test.want)
		}
	}
}
