package library

import (
	"testing"
	"time"
	_ "time/tzdata"
)

// zones are places whose clocks are set in ways that are easily forgotten: over midnight,
// at midnight, by half an hour, by a whole day, or never.
var zones = []string{
	"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Pago_Pago",
	"Africa/Cairo", "Asia/Beirut", "America/Havana", "America/Santiago", "America/Asuncion", "America/Sao_Paulo", "America/St_Johns",
	"Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "Antarctica/Troll", "America/Nuuk", "Asia/Gaza", "Pacific/Chatham",
}

// A date's beginning is held against the calendar, minute by minute around it.
func TestADateBeginsAfterTheLastMomentOfTheDayBefore(t *testing.T) {
	for _, name := range zones {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		before := time.Time{}
		for date := time.Date(2005, 1, 1, 0, 0, 0, 0, time.UTC); date.Year() < 2032; date = date.AddDate(0, 0, 1) {
			start := StartOf(date, zone)
			if DateOf(start, zone).Before(date) || !DateOf(start.Add(-time.Millisecond), zone).Before(date) {
				t.Errorf("%s begins at %s in %s", date.Format(time.DateOnly), start.In(zone), name)
			}
			for _, offset := range []time.Duration{1, 30, 59, 60, 61, 90, 120} {
				if at := start.Add(offset * time.Minute); DateOf(at, zone).Before(date) {
					t.Errorf("%s has begun in %s at %s, but then it is %s", date.Format(time.DateOnly), name, start, at.In(zone))
				}
			}
			if long := start.Sub(before); !before.IsZero() && (long < 0 || long > 27*time.Hour) {
				t.Errorf("the day before %s lasts %s in %s", date.Format(time.DateOnly), long, name)
			}
			before = start
		}
	}
}

func TestDatesBeginWhereClocksAreSetOverMidnight(t *testing.T) {
	for _, test := range []struct{ zone, date, want string }{
		{"Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z"},
		{"Europe/Berlin", "2026-03-30", "2026-03-29T22:00:00Z"},
		{"Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00Z"},     // the day begins at 1:00
		{"Africa/Cairo", "2026-10-30", "2026-10-29T22:00:00Z"},     // 23:00 comes twice
		{"America/Havana", "2026-11-01", "2026-11-01T04:00:00Z"},   // 0:00 comes twice
		{"America/St_Johns", "2010-11-07", "2010-11-07T03:30:00Z"}, // 0:00 comes, and a minute later it is yesterday again
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"},     // there was no such day
		{"Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"},
	} {
		zone, err := time.LoadLocation(test.zone)
		if err != nil {
			t.Fatal(err)
		}
		date, err := time.Parse(time.DateOnly, test.date)
		if err != nil {
			t.Fatal(err)
		}
		if got := StartOf(date, zone).UTC().Format(time.RFC3339); got != test.want {
			t.Errorf("%s begins in %s at %s, want %s", test.date, test.zone, got, test.want)
		}
	}
}
