package audit

import (
	"context"
	"fmt"
	"math"
	"strconv"
)

// terms are what the instances decide by, as they last noted it.
type terms struct {
	loansMax int // how many books a user may hold
	// limitSince is since when loansMax and receiptSince since when receiptMS holds, in
	// milliseconds since 1970.
	limitSince, receiptSince int64
	receiptMS                int64 // how long a receipt is kept at least
	logMax                   int64 // about how many entries the log keeps
}

// terms reads the terms. What is not noted forbids nothing. A library whose log has
// an entry was served by an instance, which noted them all.
func (o *observer) terms(ctx context.Context, served bool) (terms, error) {
	fields, err := o.rdb.HGetAll(ctx, o.keys.terms()).Result() // it has six
	if err := o.missing(o.keys.terms(), err); err != nil {
		return terms{}, err
	}
	number := func(field string, otherwise int64) int64 {
		text, noted := fields[field]
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case o.broken[o.keys.terms()]:
		case noted && (err != nil || n < 0):
			o.report(Finding{Kind: "value", Key: o.keys.terms(), Problem: fmt.Sprintf("its field %s should be a number, and is %s", field, quoted(text))})
		case !noted && served:
			o.report(Finding{Kind: "value", Key: o.keys.terms(), Problem: "its field " + field + " is missing; an instance that starts notes it anew"})
		}
		if !noted || err != nil || n < 0 {
			return otherwise
		}
		return n
	}
	since := number("since_ms", 0)
	number("loan_days", 0)
	number("front_max", 0)
	return terms{
		loansMax:   int(number("loans_max", math.MaxInt32)),
		limitSince: since, receiptSince: since,
		receiptMS: number("receipt_ms", 0),
		logMax:    number("log_max", math.MaxInt64),
	}, nil
}
