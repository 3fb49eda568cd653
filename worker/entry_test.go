package worker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/library/library"

	"github.com/charmbracelet/log"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

func TestAnEntrysFieldsAreTexts(t *testing.T) {
	got := newEntry(redis.XMessage{ID: "7-1", Values: map[string]any{"book": "geb", "odd": 7}}, "token")
	want := Entry{ID: "7-1", Fields: map[string]string{"book": "geb", "odd": ""}, Deliveries: 1, Token: "token"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if value, err := got.Field("book"); value != "geb" || err != nil {
		t.Errorf("Field(book) = %q, %v", value, err)
	}
	if _, err := got.Field("user"); err == nil || !strings.Contains(err.Error(), `"user"`) {
		t.Errorf("Field(user) = %v, want an error that names the field", err)
	}
}

func TestAnEntryIsKeptUnlessItIsTooLarge(t *testing.T) {
	fields := func(n, bytes int) map[string]string {
		fields := map[string]string{}
		for i := range n {
			name := fmt.Sprintf("f%04d", i)
			fields[name] = strings.Repeat("x", bytes/n-len(name))
		}
		return fields
	}
	for _, test := range []struct {
		title  string
		fields map[string]string
		kept   bool
	}{
		{"one field", map[string]string{"id": "1"}, true},
		{"as many fields as are kept", fields(keptFieldsMax, 64*10), true},
		{"one field more", fields(keptFieldsMax+1, 65*10), false},
		{"as many bytes as are kept", fields(1, keptBytesMax), true},
		{"one byte more", fields(1, keptBytesMax+1), false},
		{"many bytes in many fields", fields(2, keptBytesMax+2), false},
	} {
		kept := Entry{Fields: test.fields}.kept()
		if want := map[bool]int{true: 2 * len(test.fields), false: 0}[test.kept]; len(kept) != want {
			t.Errorf("%s: %d texts are kept, want %d", test.title, len(kept), want)
			continue
		}
		for i := 0; i < len(kept); i += 2 {
			name, dotted := strings.CutPrefix(kept[i].(string), ".")
			if value, there := test.fields[name]; !dotted || !there || kept[i+1] != value {
				t.Errorf("%s: kept %q, want a field's name with a dot before it, and its value", test.title, kept[i])
			}
		}
	}
}

func FuzzReject(f *testing.F) {
	f.Add("it has no field \"user\"")
	f.Add(strings.Repeat("x", 499) + "ö")
	f.Add(strings.Repeat("\x1b", 300))
	f.Add(strings.Repeat("\u202e", 300))
	f.Add(strings.Repeat("\xff", 1000))
	f.Fuzz(func(t *testing.T, reason string) {
		got := Reject(Entry{ID: "7-1"}, reason).Reason
		if len(got) > 500+len("…") || !utf8.ValidString(got) {
			t.Errorf("a reason of %d bytes became %q, of %d bytes", len(reason), got, len(got))
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' || r == '\u2028' }) {
			t.Errorf("%q holds a control character", got)
		}
		if again := shortened(got); again != got && len(got) <= 500 {
			t.Errorf("%q becomes %q when it is shortened again", got, again)
		}
	})
}

func TestParcelsAreReadAndWhatIsNoneIsRejected(t *testing.T) {
	many := func(n int, one string) string { return "[" + strings.Repeat(one+",", n-1) + one + "]" }
	repeated := func(n int, order Order) []Order { return slices.Repeat([]Order{order}, n) }
	for _, test := range []struct {
		title, field, text string
		want               []Order
		fault              string // empty if there is none
	}{
		{"an order", "orders", `[["r1","geb"]]`, []Order{{"r1", "geb"}}, ""},
		{"several orders", "orders", ` [ ["r1","geb"], ["r_2","a \"b\" \\"],["r1","d\u00fcne"]] `, []Order{{"r1", "geb"}, {"r_2", `a "b" \`}, {"r1", "düne"}}, ""},
		{"the same order twice", "orders", `[["r1","geb"],["r1","geb"]]`, []Order{{"r1", "geb"}, {"r1", "geb"}}, ""},
		{"100 orders", "orders", many(100, `["r1","geb"]`), repeated(100, Order{"r1", "geb"}), ""},
		{"no orders", "orders", "[]", nil, "no book"},
		{"null for orders", "orders", "null", nil, "no book"},
		{"empty text for orders", "orders", "", nil, "its orders are not a JSON array"},
		{"101 orders", "orders", many(101, `["r1","geb"]`), nil, "101 books; at most 100"},
		{"half an array of orders", "orders", `[["r1","geb"]`, nil, "its orders are not a JSON array"},
		{"two arrays of orders", "orders", `[["r1","geb"]][]`, nil, "its orders are not a JSON array"},
		{"an object for orders", "orders", `{"r1":"geb"}`, nil, "its orders are not a JSON array"},
		{"one pair for orders", "orders", `["r1","geb"]`, nil, "its orders are not a JSON array"},
		{"a number among the orders", "orders", `[["r1",7]]`, nil, "its orders are not a JSON array"},
		{"a request without a book", "orders", `[["r1","geb"],["r1"]]`, nil, "not pairs"},
		{"an order of three", "orders", `[["r1","geb","ann"]]`, nil, "not pairs"},
		{"an empty order", "orders", `[[]]`, nil, "not pairs"},
		{"null for an order", "orders", `[null]`, nil, "not pairs"},
		{"a bad id", "orders", `[["r1","geb"],["r 1","geb"]]`, nil, `request "r 1"`},
		{"an empty id", "orders", `[["","geb"]]`, nil, `request ""`},
		{"null for an id", "orders", `[[null,"geb"]]`, nil, `request ""`},
		{"null for an ordered book", "orders", `[["r1",null]]`, nil, "empty"},
		{"a bad book among the orders", "orders", `[["r1","geb"],["r1","geb "]]`, nil, "ends with a space"},

		{"a book", "books", `["geb"]`, []Order{{"", "geb"}}, ""},
		{"several books", "books", `["geb","a \"b\" \\","düne"]`, []Order{{"", "geb"}, {"", `a "b" \`}, {"", "düne"}}, ""},
		{"100 books", "books", many(100, `"geb"`), repeated(100, Order{"", "geb"}), ""},
		{"no books", "books", "[]", nil, "no book"},
		{"null for books", "books", "null", nil, "no book"},
		{"101 books", "books", many(101, `"geb"`), nil, "101 books; at most 100"},
		{"a text for books", "books", `"geb"`, nil, "its books are not a JSON array"},
		{"orders for books", "books", `[["r1","geb"]]`, nil, "its books are not a JSON array"},
		{"half an array of books", "books", `["geb"`, nil, "its books are not a JSON array"},
		{"an empty book", "books", `["geb",""]`, nil, "empty"},
		{"null for a book", "books", `[null]`, nil, "empty"},
		{"a book with a control character", "books", `["g\u001beb"]`, nil, "U+001B"},
		{"a book that is not NFC", "books", `["Go\u0308del"]`, nil, "NFC"},
		{"a book that is not UTF-8", "books", "[\"g\xffeb\"]", nil, "U+FFFD"},
		{"half a surrogate pair", "books", `["\ud83d"]`, nil, "U+FFFD"},
		{"a book that is too long", "books", `["` + strings.Repeat("x", 257) + `"]`, nil, "257 bytes"},
	} {
		read, other := ReadOrders, "books"
		good := Parcel{Entry{ID: "2-1", Fields: map[string]string{"orders": `[["r2","Gödel"]]`, "books": `["Gödel"]`}}, []Order{{"r2", "Gödel"}}}
		if test.field == "books" {
			read, other = ReadBooks, "orders"
			good.Orders[0].Request = ""
		}
		// What nobody asked for does not matter.
		entry := Entry{ID: "1-1", Fields: map[string]string{test.field: test.text, other: "x", "colour": "red"}}
		parcels, rejections := ReadParcels([]Entry{entry, good.Entry}, read)
		want := []Parcel{{entry, test.want}, good}
		if test.fault != "" {
			want = want[1:]
			if len(rejections) != 1 || rejections[0].Entry.ID != "1-1" || !strings.Contains(rejections[0].Reason, test.fault) {
				t.Errorf("%s: rejected %+v, want one for %q", test.title, rejections, test.fault)
			}
		} else if len(rejections) > 0 {
			t.Errorf("%s: rejected %+v", test.title, rejections)
		}
		if diff := cmp.Diff(want, parcels); diff != "" {
			t.Errorf("%s: parcels (-want +got):\n%s", test.title, diff)
		}

		delete(entry.Fields, test.field)
		if _, rejections := ReadParcels([]Entry{entry}, read); len(rejections) != 1 || !strings.Contains(rejections[0].Reason, `no field "`+test.field+`"`) {
			t.Errorf("without %s: rejected %+v", test.field, rejections)
		}
	}
}

func TestParcelsAreDividedIntoCallsOfAtMost2000Books(t *testing.T) {
	for _, test := range []struct {
		title   string
		parcels []int // how many books each has
		want    [][]int
	}{
		{"nothing", nil, nil},
		{"a parcel", []int{1}, [][]int{{1}}},
		{"as many as a call may carry", slices.Repeat([]int{100}, 20), [][]int{slices.Repeat([]int{100}, 20)}},
		{"one book more", append(slices.Repeat([]int{100}, 20), 1), [][]int{slices.Repeat([]int{100}, 20), {1}}},
		{"a parcel that fits no more", append(append([]int{1}, slices.Repeat([]int{100}, 20)...), 3), [][]int{
			append([]int{1}, slices.Repeat([]int{100}, 19)...), {100, 3},
		}},
		{"three calls", slices.Repeat([]int{100}, 41), [][]int{slices.Repeat([]int{100}, 20), slices.Repeat([]int{100}, 20), {100}}},
	} {
		var parcels []Parcel
		for i, n := range test.parcels {
			parcels = append(parcels, Parcel{Entry{ID: fmt.Sprint(i)}, make([]Order, n)})
		}
		var got [][]int
		next := 0
		for call := range Calls(parcels) {
			var sizes []int
			for _, parcel := range call {
				if parcel.Entry.ID != fmt.Sprint(next) {
					t.Errorf("%s: parcel %s comes where %d should", test.title, parcel.Entry.ID, next)
				}
				next++
				sizes = append(sizes, len(parcel.Orders))
			}
			got = append(got, sizes)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.title, diff)
		}
		for range Calls(parcels) {
			break // a failed call ends it
		}
	}
}

func TestAParcelsBooksAreToldByWhatBecameOfThem(t *testing.T) {
	orders := []Order{{"r1", "geb"}, {"r1", "alice"}, {"r2", "dune"}, {"r3", "cities"}}
	books := []Order{{"", "geb"}, {"", "alice"}, {"", "dune"}}
	for _, test := range []struct {
		title        string
		orders       []Order
		words, users []string
		want         string
	}{
		{"one order", orders[:1], []string{"fetched"}, nil, "INFO fetched book=geb id=r1\n"},
		{"one delivery", orders[:1], []string{"delivered"}, []string{"ann"}, "INFO delivered user=ann book=geb id=r1\n"},
		{"one book", books[:1], []string{"stored"}, nil, "INFO stored book=geb\n"},
		{"all the same way", orders, []string{"fetched", "fetched", "fetched", "fetched"}, nil,
			"INFO fetched books=\"geb for r1; alice for r1; dune for r2; cities for r3\"\n"},
		{"books, all the same way", books, []string{"stored", "stored", "stored"}, nil, "INFO stored books=\"geb; alice; dune\"\n"},
		{"each its own way", orders, []string{"fetched", "awaited", "awaited", "apart"}, nil,
			"INFO fetched book=geb id=r1\nINFO awaited books=\"alice for r1; dune for r2\"\nINFO apart book=cities id=r3\n"},
		{"deliveries, each its own way", orders[:3], []string{"sent_back", "delivered", "sent_back"}, []string{"", "ann", "bob"},
			"INFO sent_back user=\"\" book=geb id=r1\nINFO delivered user=ann book=alice id=r1\nINFO sent_back user=bob book=dune id=r2\n"},
		{"handled before", orders[:2], []string{"gone", "gone"}, nil, "DEBU gone entry=7-1\n"},
		{"nothing", nil, nil, nil, ""},
	} {
		var text strings.Builder
		config := Config{Log: log.NewWithOptions(&text, log.Options{Level: log.DebugLevel})}
		moved, want := map[string]int{}, map[string]int{}
		config.Observer.Moved = func(step string, books int) { moved[step] += books }
		Parcel{Entry{ID: "7-1"}, test.orders}.Tell(config, test.words, test.users)
		for _, word := range test.words {
			if word != "gone" {
				want[word]++
			}
		}
		if diff := cmp.Diff(want, moved); diff != "" {
			t.Errorf("%s: the observer was told (-want +got):\n%s", test.title, diff)
		}
		if diff := cmp.Diff(test.want, text.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.title, diff)
		}
	}
}

func FuzzReadParcels(f *testing.F) {
	f.Add(`[["r1","geb"],["r2","a \"b\""]]`, `["geb"]`)
	f.Add("", "null")
	f.Add(`[[]]`, `[["r1","geb"]]`)
	f.Add("[[\"r1\",\"\xff\"]]", `["\ud83d"]`)
	f.Add(strings.Repeat("[", 20000), "["+strings.Repeat(`"geb",`, 100)+`"geb"]`)
	f.Fuzz(func(t *testing.T, orders, books string) {
		entry := Entry{ID: "7-1", Fields: map[string]string{"orders": orders, "books": books}}
		for withRequest, read := range map[bool]func(Entry) ([]Order, error){true: ReadOrders, false: ReadBooks} {
			parcels, rejections := ReadParcels([]Entry{entry}, read)
			if len(parcels)+len(rejections) != 1 {
				t.Fatalf("%+v is read as %+v and rejected as %+v, want one of both", entry, parcels, rejections)
			}
			for _, parcel := range parcels {
				if n := len(parcel.Orders); n < 1 || n > library.BooksMax {
					t.Errorf("the parcel has %d books", n)
				}
				for _, order := range parcel.Orders {
					if err := library.CheckName("book", order.Book); err != nil {
						t.Error(err)
					}
					if withRequest && library.CheckID("request", order.Request) != nil || !withRequest && order.Request != "" {
						t.Errorf("the request is %q", order.Request)
					}
				}
			}
		}
	})
}
