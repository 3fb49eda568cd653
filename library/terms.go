package library

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ErrTerms is returned when the terms that a library has cannot be understood; the error
// that wraps it says which.
var ErrTerms = errors.New("a term cannot be understood")

// ReceiptKeepMin is the least time for which a library keeps receipts, whatever its
// terms are. Within it an order that is sent again takes effect once.
const ReceiptKeepMin = 10 * time.Minute

// Terms are what a library lends by. They are the library's and not an instance's:
// all instances decide by the same.
type Terms struct {
	// LoansMax is how many books a user may hold, 1 to 100. Default: 5.
	LoansMax int `json:"loans_max"`
	// LoanDays is how many days a loan lasts, 1 to 3650. Default: 28.
	LoanDays int `json:"loan_days"`
	// FrontMax is how many books front storage has room for, 0 to 1,000,000. Default: 20.
	FrontMax int `json:"front_max"`
	// ReceiptMS is for how many milliseconds a receipt is kept at least, 10 min to 720 h.
	// Default: 24 h.
	ReceiptMS int64 `json:"receipt_ms"`
	// LogMax is about how many entries the log of events keeps, 1,000 or more. Default: 200,000.
	LogMax int64 `json:"log_max"`
	// TimeZone is the name of the zone in which the library's days begin and end, as the
	// IANA database has it, such as Europe/Berlin. Default: UTC.
	TimeZone string `json:"time_zone,omitempty"`
}

// DefaultTerms are those of a library for which nobody chose any.
func DefaultTerms() Terms {
	return Terms{LoansMax: 5, LoanDays: 28, FrontMax: 20, ReceiptMS: (24 * time.Hour).Milliseconds(), LogMax: 200_000, TimeZone: "UTC"}
}

// ReceiptKeep is how long a receipt is kept at least.
func (t Terms) ReceiptKeep() time.Duration { return time.Duration(t.ReceiptMS) * time.Millisecond }

// Zone is the library's time zone. Its error wraps ErrTerms.
func (t Terms) Zone() (*time.Location, error) {
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil || t.TimeZone == "Local" {
		return nil, fmt.Errorf("%w: this program knows no time zone %s; the names are those of the IANA database, such as Europe/Berlin", ErrTerms, Printable(t.TimeZone))
	}
	return zone, nil
}

// A Term is one of the terms.
type Term struct {
	// Flag is its name on a command line, without the dashes.
	Flag string
	// Field is its name where it is stored, see Keys.Terms.
	Field string
	// Text is what is stored.
	Text func(Terms) string
	// Shown is what a person reads.
	Shown func(Terms) string
	// Set takes what is stored.
	Set func(terms *Terms, text string) error
	// Check reports whether it is within its bounds. Its error begins after the flag's name.
	Check func(Terms) error
}

// EachTerm are all terms, in the order in which they are shown.
var EachTerm = []Term{
	number("limit", "loans_max", 1, 100, func(t *Terms) *int { return &t.LoansMax }),
	number("loan-days", "loan_days", 1, 3650, func(t *Terms) *int { return &t.LoanDays }),
	number("front", "front_max", 0, 1_000_000, func(t *Terms) *int { return &t.FrontMax }),
	receiptKeep(),
	number("log-keep", "log_max", 1000, 1<<40, func(t *Terms) *int64 { return &t.LogMax }),
	{
		Flag: "time-zone", Field: "time_zone",
		Text:  func(t Terms) string { return t.TimeZone },
		Shown: func(t Terms) string { return t.TimeZone },
		Set:   func(t *Terms, text string) error { t.TimeZone = text; return nil },
		Check: func(t Terms) error {
			if _, err := t.Zone(); err != nil {
				return fmt.Errorf("is the IANA name of a time zone, such as Europe/Berlin, not %s", Printable(t.TimeZone))
			}
			return nil
		},
	},
}

func number[T int | int64](flag, field string, min, max T, of func(*Terms) *T) Term {
	text := func(t Terms) string { return strconv.FormatInt(int64(*of(&t)), 10) }
	return Term{
		Flag: flag, Field: field, Text: text, Shown: text,
		Set: func(t *Terms, text string) error {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				return fmt.Errorf("%w: %s should be a number, and is %s", ErrTerms, field, Printable(text))
			}
			*of(t) = T(n)
			return nil
		},
		Check: func(t Terms) error {
			if n := *of(&t); n < min || n > max {
				return fmt.Errorf("is from %d to %d, not %d", min, max, n)
			}
			return nil
		},
	}
}

func receiptKeep() Term {
	term := number("receipt-keep", "receipt_ms", ReceiptKeepMin.Milliseconds(), (720 * time.Hour).Milliseconds(), func(t *Terms) *int64 { return &t.ReceiptMS })
	term.Shown = func(t Terms) string { return t.ReceiptKeep().String() }
	term.Check = func(t Terms) error {
		if keep := t.ReceiptKeep(); keep < ReceiptKeepMin || keep > 720*time.Hour {
			return fmt.Errorf("is from %s to %s, not %s", ReceiptKeepMin, 720*time.Hour, keep)
		}
		return nil
	}
	return term
}

// Changes tells which terms are not what they were before, as in "limit 5 → 6", and of
// terms before which there were none, what they are.
func (t Terms) Changes(before *Terms) []string {
	var changes []string
	for _, term := range EachTerm {
		switch {
		case before == nil:
			changes = append(changes, term.Flag+" "+term.Shown(t))
		case term.Text(*before) != term.Text(t):
			changes = append(changes, term.Flag+" "+term.Shown(*before)+" → "+term.Shown(t))
		}
	}
	return changes
}
