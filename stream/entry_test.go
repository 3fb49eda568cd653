package stream

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

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
	entry := func(fields ...string) Entry {
		e := Entry{ID: fields[0], Fields: map[string]string{}}
		for i := 1; i < len(fields); i += 2 {
			e.Fields[fields[i]] = fields[i+1]
		}
		return e
	}
	for _, test := range []struct {
		title       string
		entry       Entry
		withRequest string // the fault as an order; empty if it is a good one
		without     string // the fault as a book to put away
	}{
		{"an order", entry("1-1", "request", "r1", "book", "geb"), "", ""},
		{"a book to put away", entry("1-1", "book", "geb"), `no field "request"`, ""},
		{"no book", entry("1-1", "request", "r1"), `no field "book"`, `no field "book"`},
		{"nothing", entry("1-1"), `no field "request"`, `no field "book"`},
		{"a bad id", entry("1-1", "request", "r 1", "book", "geb"), `request "r 1"`, ""},
		{"an empty id", entry("1-1", "request", "", "book", "geb"), `request ""`, ""},
		{"an empty book", entry("1-1", "request", "r1", "book", ""), "empty", "empty"},
		{"a book with a control character", entry("1-1", "request", "r1", "book", "g\x1beb"), "U+001B", "U+001B"},
		{"a book that is not NFC", entry("1-1", "request", "r1", "book", "Go\u0308del"), "NFC", "NFC"},
		{"a book that is too long", entry("1-1", "request", "r1", "book", strings.Repeat("x", 257)), "257 bytes", "257 bytes"},
		{"fields that nobody asked for", entry("1-1", "request", "r1", "book", "geb", "colour", "red"), "", ""},
	} {
		for withRequest, fault := range map[bool]string{true: test.withRequest, false: test.without} {
			good := entry("2-1", "request", "r2", "book", "Gödel")
			parcels, rejections := ReadParcels([]Entry{test.entry, good}, withRequest)
			wantGood := Parcel{Entry: good, Book: "Gödel"}
			if withRequest {
				wantGood.Request = "r2"
			}
			if fault != "" {
				if len(rejections) != 1 || rejections[0].Entry.ID != "1-1" || !strings.Contains(rejections[0].Reason, fault) {
					t.Errorf("%s, with request %v: rejected %+v, want one for %q", test.title, withRequest, rejections, fault)
				}
				if diff := cmp.Diff([]Parcel{wantGood}, parcels); diff != "" {
					t.Errorf("%s, with request %v: parcels (-want +got):\n%s", test.title, withRequest, diff)
				}
				continue
			}
			want := Parcel{Entry: test.entry, Book: test.entry.Fields["book"]}
			if withRequest {
				want.Request = test.entry.Fields["request"]
			}
			if diff := cmp.Diff([]Parcel{want, wantGood}, parcels); diff != "" || len(rejections) > 0 {
				t.Errorf("%s, with request %v: rejected %+v, parcels (-want +got):\n%s", test.title, withRequest, rejections, diff)
			}
		}
	}
}
