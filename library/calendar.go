package library

import "time"

// DateOf is the date that a calendar shows at a moment, as midnight in UTC.
func DateOf(t time.Time, zone *time.Location) time.Time {
	year, month, day := t.In(zone).Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// StartOf is the moment at which a date begins in a zone: the last one before which
// the calendar shows an earlier date. It is not always midnight, for clocks are set
// forward over it in some places, and back in others.
func StartOf(date time.Time, zone *time.Location) time.Time {
	const around = 36 * time.Hour // no zone is farther from UTC, even with what its clocks are set by
	start := date
	found := false
	for t := date.Add(-around).In(zone); ; {
		_, offset := t.Zone()
		changed, end := t.ZoneBounds()
		for _, at := range []time.Time{date.Add(-time.Duration(offset) * time.Second), changed} {
			begins := !at.IsZero() && DateOf(at.Add(-time.Millisecond), zone).Before(date) && !DateOf(at, zone).Before(date)
			if begins && (!found || at.After(start)) {
				start, found = at, true
			}
		}
		if end.IsZero() || end.After(date.Add(around)) {
			return start
		}
		t = end
	}
}
