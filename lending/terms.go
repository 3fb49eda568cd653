package lending

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"example.com/library/library"
	"example.com/library/redisconn"
	"example.com/library/scripts"

	"github.com/redis/go-redis/v9"
)

// StandingTerms are a library's terms, as they stand.
type StandingTerms struct {
	library.Terms
	// Version is the id of the event that tells of them; empty where none were set yet.
	// Then Terms are what an instance of an older version noted, or else the defaults.
	Version string `json:"version,omitempty"`
	// By says who set them, and Since when that was; zero where none were set yet.
	By    string    `json:"by,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// NotedOtherwise are the terms, by their flags, of which an instance of an older
	// version noted something else since: it decides by terms of its own.
	NotedOtherwise []string `json:"noted_otherwise,omitempty"`

	stored map[string]string // by field
	noted  bool              // they are what an instance of an older version noted
}

// Stand reports whether the library has terms: an instance that serves it, of whatever
// version, has set them.
func (s *StandingTerms) Stand() bool { return len(s.stored) > 0 }

// Has reports whether the library has this term.
func (s *StandingTerms) Has(term library.Term) bool {
	_, stored := s.stored[term.Field]
	return stored
}

// LookUpTerms reads the library's terms. Its error wraps library.ErrTerms, or is
// Redis's.
func LookUpTerms(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) (*StandingTerms, error) {
	stands, err := readTerms(ctx, rdb, keys)
	if err != nil {
		return nil, err
	}
	for _, term := range library.EachTerm {
		if text, stored := stands.stored[term.Field]; stored {
			if err := term.Set(&stands.Terms, text); err != nil {
				return nil, fmt.Errorf("read the terms of library %q: %w", keys.Library, err)
			}
		}
	}
	return stands, nil
}

// readTerms reads what is stored, and leaves the terms themselves to be made of it.
func readTerms(ctx context.Context, rdb redis.UniversalClient, keys library.Keys) (*StandingTerms, error) {
	var stored, noted *redis.MapStringStringCmd
	_, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		stored, noted = pipe.HGetAll(ctx, keys.Terms()), pipe.HGetAll(ctx, keys.NotedTerms())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up the terms: %w", err)
	}
	stands := &StandingTerms{Terms: library.DefaultTerms(), Version: stored.Val()["version"], By: stored.Val()["by"], stored: stored.Val()}
	if len(stands.stored) == 0 {
		stands.stored, stands.noted = noted.Val(), true
	} else if len(noted.Val()) > 0 {
		for _, term := range library.EachTerm {
			if text, has := noted.Val()[term.Field]; has && text != stands.stored[term.Field] {
				stands.NotedOtherwise = append(stands.NotedOtherwise, term.Flag)
			}
		}
	}
	stands.Since = library.EntryTime(stands.Version).Truncate(time.Second)
	return stands, nil
}

// notedMS is since when the terms hold that an instance of an older version noted, in
// milliseconds since 1970; 0 of others.
func (s *StandingTerms) notedMS() int64 {
	if !s.noted {
		return 0
	}
	ms, _ := strconv.ParseInt(s.stored["since_ms"], 10, 64)
	return ms
}

// SetTerms sets the terms that are named, by their flags, to what want has, and
// where the library has no such term yet, any other too; the rest stay as they are. The
// log tells of it, and that it was done by whoever by is. If there is nothing to
// change, nothing is written. It returns the terms before and after. Its error wraps
// library.ErrTerms, or is Redis's.
//
// Whatever an instance decides from then on it decides by the new terms.
func SetTerms(ctx context.Context, rdb redis.UniversalClient, keys library.Keys, by string, want library.Terms, named ...string) (before, after *StandingTerms, err error) {
	for {
		before, err := readTerms(ctx, rdb, keys)
		if err != nil {
			return nil, nil, err
		}
		next, changes := want, before.Version == ""
		for _, term := range library.EachTerm {
			text, stored := before.stored[term.Field]
			if !stored || slices.Contains(named, term.Flag) {
				changes = changes || !stored || text != term.Text(want)
			} else if err := term.Set(&next, text); err != nil {
				return nil, nil, fmt.Errorf("read the terms of library %q: %w", keys.Library, err)
			}
		}
		for _, term := range library.EachTerm {
			if term.Set(&before.Terms, before.stored[term.Field]) != nil {
				delete(before.stored, term.Field) // it was none, or nobody understood it
			}
		}
		if !changes {
			before.Terms = next
			return before, before, nil
		}
		args := []any{by, before.Version, before.text(), (&StandingTerms{Terms: next}).text(), next.LogMax}
		for _, term := range library.EachTerm {
			args = append(args, term.Field, term.Text(next))
		}
		version, err := scripts.Terms.Run(ctx, redisconn.Regardless(rdb), []string{keys.Terms(), keys.NotedTerms(), keys.Events()}, args...).Text()
		if err != nil {
			return nil, nil, fmt.Errorf("set the terms: %w", err)
		}
		if version == "stale" {
			continue // somebody else set them meanwhile
		}
		after := &StandingTerms{Terms: next, Version: version, By: by}
		after.Since = library.EntryTime(version).Truncate(time.Second)
		return before, after, nil
	}
}

// text is the terms as an event of the log tells of them.
func (s *StandingTerms) text() string {
	if s.stored != nil && !s.Stand() {
		return "{}"
	}
	text, err := json.Marshal(struct {
		library.Terms
		Version string `json:"version,omitempty"`
		SinceMS int64  `json:"since_ms,omitempty"`
	}{s.Terms, s.Version, s.notedMS()})
	if err != nil {
		panic(err) // numbers and a text always marshal
	}
	return string(text)
}

// knownTerms are the terms by which a service decides, as far as it knows, and the
// library's day.
type knownTerms struct {
	*StandingTerms
	day day
}

// byTerms calls f with the library's terms of today, and again with others as long as
// its script answers that they, or the day, have changed. So what an instance remembers
// need not be true, and its clock need not be right.
func (s *Service) byTerms(ctx context.Context, f func(*knownTerms) error) error {
	for terms := s.now.Load(); ; terms = nil {
		if terms == nil {
			var err error
			if terms, err = s.readTerms(ctx); err != nil {
				return err
			}
		}
		if err := f(terms); !redis.HasErrorPrefix(err, "TERMS") {
			return err
		}
	}
}

// readTerms reads the library's terms and asks Redis for the time. What the library has
// no term for yet, it sets: to what the library had when this was called before, for then
// Redis has lost it, or else as the service was told.
func (s *Service) readTerms(ctx context.Context) (*knownTerms, error) {
	want := s.config.Terms
	if before := s.now.Load(); before != nil {
		want = before.Terms
	}
	_, stands, err := SetTerms(ctx, s.config.Redis, s.config.Keys, s.config.Instance.Name(), want)
	if err != nil {
		return nil, err
	}
	zone, err := stands.Zone()
	if err != nil {
		return nil, err
	}
	now, err := s.config.Redis.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("ask for the time: %w", err)
	}
	terms := &knownTerms{stands, newDay(now, zone, stands.LoanDays)}
	s.now.Store(terms)
	return terms, nil
}
