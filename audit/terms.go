package audit

import (
	"context"
	"math"
	"strconv"
)

// terms are what the instances decide by, as they last noted it.
type terms struct {
	loansMax  int   // how many books a user may hold
	sinceMS   int64 // when these terms came into force
	receiptMS int64 // how long a receipt is kept at least
	logMax    int64 // about how many entries the log keeps
}

// terms reads the terms. Where no instance ever noted any, they forbid nothing.
func (o *observer) terms(ctx context.Context) (terms, error) {
	fields, err := o.rdb.HGetAll(ctx, o.keys.terms()).Result()
	if err := o.missing(o.keys.terms(), err); err != nil {
		return terms{}, err
	}
	number := func(field string, otherwise int64) int64 {
		if n, err := strconv.ParseInt(fields[field], 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	return terms{
		loansMax:  int(number("loans_max", math.MaxInt32)),
		sinceMS:   number("since_ms", 0),
		receiptMS: number("receipt_ms", 0),
		logMax:    number("log_max", math.MaxInt64),
	}, nil
}
