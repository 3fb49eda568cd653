package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"example.com/library/library"
	"example.com/library/redisconn"

	"github.com/redis/go-redis/v9"
)

// terms are what the library lends by, from a time on.
type terms struct {
	library.Terms
	version string // the id of the event that tells of them; "" for those that instances noted
	by      string // who set them
	known   bool
	sinceMS int64 // since when it is known that they hold, in milliseconds since 1970
}

// toldTerms are terms as an event of the log tells of them.
type toldTerms struct {
	library.Terms
	Version string `json:"version"`
	SinceMS int64  `json:"since_ms"`
}

// readTerms reads them; nil for those of a library that had none.
func readTerms(text string) (*toldTerms, error) {
	var told toldTerms
	if err := json.Unmarshal([]byte(text), &told); err != nil {
		return nil, err
	}
	if told == (toldTerms{}) {
		return nil, nil
	}
	if told.LoansMax < 0 || told.LoanDays < 0 || told.FrontMax < 0 || told.ReceiptMS < 0 || told.LogMax < 0 {
		return nil, errors.New("a number in them is negative")
	}
	return &told, nil
}

// loansMax is how many books a user might hold at a time; no number is too high where
// that is not known.
func (r *replay) loansMax(ms int64) int {
	switch {
	case r.limit > 0:
		return r.limit
	case r.terms.known && ms >= r.terms.sinceMS:
		return r.terms.LoansMax
	}
	return math.MaxInt
}

// keepMS is for how long a receipt was promised to be kept at a time; 0 where that is
// not known.
func (r *replay) keepMS(ms int64) int64 {
	if r.terms.known && ms >= r.terms.sinceMS {
		return r.terms.ReceiptMS
	}
	return 0
}

// agreed takes into account that the terms were set.
func (r *replay) agreed(e *event) {
	if r.terms.version != "" && (e.from == nil || e.from.Version != r.terms.version) {
		r.report(Finding{Kind: "log", Key: r.keys.Events(), Event: e.id, Problem: "terms were set that follow on others than those of event " + r.terms.version})
	}
	r.terms = terms{e.to.Terms, e.id, e.by, true, milliseconds(e.id)}
	r.logMax = e.to.LogMax
}

// termsBefore are the terms by which the library lent before the log's first event that
// tells of any. Each such event tells of the one before it, so they are found from the
// last one backwards. stands are the terms that the library has.
func (o *observer) termsBefore(ctx context.Context, stands terms) (terms, error) {
	before := stands
	for id := stands.version; id != ""; {
		found, err := o.rdb.XRangeN(ctx, o.keys.Events(), id, id, 1).Result()
		if err := o.missing(o.keys.Events(), err); err != nil {
			return terms{}, err
		}
		if len(found) == 0 {
			break // it was trimmed away, and with it all that was decided before
		}
		e, err := newEvent(found[0])
		if err != nil || e.name != "terms" || e.from == nil {
			return terms{}, nil
		}
		before = terms{Terms: e.from.Terms, version: e.from.Version, known: true, sinceMS: max(e.from.SinceMS, milliseconds(e.from.Version))}
		if id = e.from.Version; !isBefore(id, e.id) {
			return terms{}, nil
		}
	}
	before.version = ""
	return before, nil
}

// standingTerms reads the terms that the library has, as far as they can be understood.
func (o *observer) standingTerms(ctx context.Context) (terms, error) {
	var fields map[string]string
	for _, key := range []string{o.keys.Terms(), o.keys.NotedTerms()} {
		var err error
		fields, err = o.rdb.HGetAll(ctx, key).Result()
		if err := o.missing(key, err); err != nil {
			return terms{}, err
		}
		if len(fields) > 0 {
			break
		}
	}
	stands := terms{version: fields["version"], known: len(fields) > 0}
	for _, term := range library.EachTerm {
		if text, has := fields[term.Field]; !has || term.Set(&stands.Terms, text) != nil {
			stands.known = stands.known && term.Field == "time_zone" // which an older version did not have
		}
	}
	if stands.sinceMS = milliseconds(stands.version); stands.version == "" {
		stands.sinceMS, _ = strconv.ParseInt(fields["since_ms"], 10, 64)
	}
	return stands, nil
}

// agreement checks that the library's terms are those of which the log told last, or
// where it tells of none, that an instance noted terms.
func (a *audit) agreement(ctx context.Context) error {
	if a.eyes.broken[a.keys.Terms()] || a.eyes.broken[a.keys.NotedTerms()] || a.eyes.broken[a.keys.Events()] {
		return nil // it was found, or cannot be told
	}
	var stored, noted *redis.MapStringStringCmd
	var last *redis.XMessageSliceCmd
	err := redisconn.Transaction(ctx, a.rdb, func(pipe redis.Pipeliner) {
		stored, noted = pipe.HGetAll(ctx, a.keys.Terms()), pipe.HGetAll(ctx, a.keys.NotedTerms())
		last = pipe.XRevRangeN(ctx, a.keys.Events(), "+", "-", 1)
	})
	if err != nil {
		return a.eyes.missing(a.keys.Terms(), err)
	}
	if len(last.Val()) == 0 {
		return nil // nobody served it yet
	}
	if err := a.log.to(ctx, last.Val()[0].ID); err != nil {
		return err
	}
	told, key, fields := a.log.terms, a.keys.Terms(), stored.Val()
	if len(fields) == 0 && told.version == "" {
		key, fields = a.keys.NotedTerms(), noted.Val()
	}
	wrong := func(problem string, args ...any) {
		a.report.found(Finding{Kind: "value", Key: key, Event: told.version, Problem: fmt.Sprintf(problem, args...)})
	}
	if len(fields) == 0 {
		wrong("the library's terms are gone; an instance that starts sets them anew, as its flags say")
		return nil
	}
	for _, term := range library.EachTerm {
		text, has := fields[term.Field]
		var read library.Terms
		switch want := term.Text(told.Terms); {
		case !has && (key == a.keys.Terms() || term.Field != "time_zone"):
			wrong("its field %s is missing; an instance that starts sets it anew", term.Field)
		case has && term.Set(&read, text) != nil:
			wrong("its field %s should be a number, and is %s", term.Field, quoted(text))
		case has && told.version != "" && text != want:
			wrong("its field %s is %s, and the log says %s", term.Field, quoted(text), quoted(want))
		case key == a.keys.Terms() && len(noted.Val()) > 0 && noted.Val()[term.Field] != text:
			a.report.noticed(fmt.Sprintf("an instance of an older version started after the terms were set, and decides by its own: %s is %s to it",
				term.Field, quoted(noted.Val()[term.Field])))
		}
	}
	if key == a.keys.Terms() && fields["version"] != told.version && told.version != "" {
		wrong("its version is %s, and the log says %s", quoted(fields["version"]), quoted(told.version))
	}
	return nil
}
