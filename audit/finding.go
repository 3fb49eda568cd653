package audit

import (
	"cmp"
	"slices"
	"strings"

	"example.com/library/library"
)

// toldMax is how many findings, and how many notices, are told one by one.
const toldMax = 1000

// A Finding is something that is wrong.
type Finding struct {
	// Kind is what sort of fact it is about: book (where it is, and who has it), card,
	// limit, receipt, log (an event that cannot follow on those before it), order (one
	// that nobody works for), pending, entry, count, value, type, or lock.
	Kind string `json:"kind"`
	// Key is where it is.
	Key string `json:"key"`
	// Book, User and Request are whom it is about, where that can be told.
	Book    string `json:"book,omitempty"`
	User    string `json:"user,omitempty"`
	Request string `json:"request,omitempty"`
	// Event is the id of the log's entry that should explain it: the last one about
	// this book or order; empty if the log has none.
	Event string `json:"event,omitempty"`
	// Problem is what is wrong, in words.
	Problem string `json:"problem"`
}

// String tells of it in one line, fit for a terminal.
func (f Finding) String() string {
	words := []string{library.Plain(f.Key)}
	for _, about := range [][2]string{{"book", f.Book}, {"user", f.User}, {"order", f.Request}} {
		if about[1] != "" {
			words = append(words, about[0]+" "+quoted(about[1]))
		}
	}
	text := strings.Join(words, ", ") + ": " + library.Plain(f.Problem)
	if f.Event != "" {
		text += " (event " + library.Plain(f.Event) + ")"
	}
	return text
}

// quoted is a text that came from outside, fit to stand in a sentence.
func quoted(text string) string { return library.Printable(text) }

// A Report is what an audit found.
type Report struct {
	Library string `json:"library"`
	// To is the library that was made, where one was.
	To string `json:"to,omitempty"`
	// Events is how many entries of the log were followed, from First to Last.
	Events int    `json:"events"`
	First  string `json:"first,omitempty"`
	Last   string `json:"last"`
	// Whole says that the log told of everything since the library began.
	Whole bool `json:"whole"`
	// Orders, Loans, Cards, Front, Out and Receipts are how many of them there were.
	Orders   int `json:"orders"`
	Loans    int `json:"loans"`
	Cards    int `json:"cards"`
	Front    int `json:"front"`
	Out      int `json:"out"`
	Receipts int `json:"receipts"`
	// Findings are what is wrong; none is what one hopes for.
	Findings []Finding `json:"findings"`
	// FindingsMore is how many more there are than are told.
	FindingsMore int `json:"findings_more,omitempty"`
	// Notices are what is strange and does no harm.
	Notices []string `json:"notices"`
	// Unchecked is what could not be checked, and why.
	Unchecked []string `json:"unchecked"`
}

// Clean reports whether nothing is wrong.
func (r *Report) Clean() bool { return len(r.Findings) == 0 }

func (r *Report) found(f Finding) {
	if len(r.Findings) >= toldMax {
		r.FindingsMore++
		return
	}
	r.Findings = append(r.Findings, f)
}

func (r *Report) noticed(text string) {
	if len(r.Notices) < toldMax {
		r.Notices = append(r.Notices, text)
	}
}

func (r *Report) sort() {
	slices.SortFunc(r.Findings, func(x, y Finding) int {
		return cmp.Or(strings.Compare(x.Kind, y.Kind), strings.Compare(x.Book, y.Book), strings.Compare(x.User, y.User),
			strings.Compare(x.Request, y.Request), strings.Compare(x.Key, y.Key), strings.Compare(x.Event, y.Event), strings.Compare(x.Problem, y.Problem))
	})
}
