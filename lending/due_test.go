package lending

import (
	"fmt"
	"testing"
	"time"
)

func zoneOf(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestALoanEndsWithTheLastOfItsDays(t *testing.T) {
	for _, test := range []struct {
		zone, now string
		days      int
		want      string // the day on which it is due
	}{
		{"Europe/Berlin", "2026-10-01T00:30:00+02:00", 28, "2026-10-29"}, // clocks are set back on the 25th
		{"Europe/Berlin", "2026-10-01T23:59:59+02:00", 28, "2026-10-29"},
		{"Europe/Berlin", "2026-03-01T23:30:00+01:00", 28, "2026-03-29"}, // and forward on the 29th
		{"Europe/Berlin", "2026-03-02T00:00:00+01:00", 28, "2026-03-30"},
		{"Europe/Berlin", "2026-03-28T12:00:00+01:00", 1, "2026-03-29"}, // which has 23 hours
		{"Europe/Berlin", "2028-02-28T12:00:00+01:00", 1, "2028-02-29"},
		{"Europe/Berlin", "2027-12-31T23:59:59+01:00", 3650, "2037-12-28"},
		{"America/New_York", "2026-10-20T20:00:00-04:00", 28, "2026-11-17"}, // in UTC it is the 21st
		{"Pacific/Kiritimati", "2026-10-20T00:00:00+14:00", 1, "2026-10-21"},
		{"Africa/Cairo", "2026-10-29T23:30:00+03:00", 1, "2026-10-30"}, // once again this night it is 23:30
		{"Africa/Cairo", "2026-10-29T23:30:00+02:00", 1, "2026-10-30"},
		{"America/St_Johns", "2010-11-07T00:00:30-02:30", 1, "2010-11-07"}, // a minute later it is the 6th again
		{"UTC", "2026-10-01T00:00:00Z", 28, "2026-10-29"},
	} {
		now, err := time.Parse(time.RFC3339, test.now)
		if err != nil {
			t.Fatal(err)
		}
		zone := zoneOf(t, test.zone)
		day := newDay(now, zone, test.days)
		due := time.UnixMilli(day.dueMS).In(zone)
		if got := due.Format(time.DateOnly + " 15:04:05.000"); got != test.want+" 23:59:59.999" {
			t.Errorf("%d days from %s in %s are over at %s, want the end of %s", test.days, test.now, test.zone, got, test.want)
		}
		if now.UnixMilli() < day.fromMS || now.UnixMilli() >= day.untilMS {
			t.Errorf("%s is not between %d and %d, where its day begins and ends in %s", test.now, day.fromMS, day.untilMS, test.zone)
		}
		if got, want := day.stamp(), fmt.Sprintf("%d%04d", day.dueMS, test.days); got != want || len(got) != 17 {
			t.Errorf("the stamp is %s, want %s", got, want)
		}
	}
}

// All loans of a day are due together, whenever in the day they were made.
func TestEqualPeriodsGiveEqualDates(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana"} {
		zone := zoneOf(t, name)
		var before day
		for now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); now.Year() == 2026; now = now.Add(20 * time.Minute) {
			today := newDay(now, zone, 28)
			switch {
			case before.untilMS == 0 || today == before:
			case today.fromMS != before.untilMS:
				t.Errorf("%s: a day ends at %d and the next begins at %d", name, before.untilMS, today.fromMS)
			case time.UnixMilli(today.dueMS).In(zone).AddDate(0, 0, -1).Format(time.DateOnly) != time.UnixMilli(before.dueMS).In(zone).Format(time.DateOnly):
				t.Errorf("%s: loans of %s are due a day after those of the day before: %s, %s", name, now.In(zone), time.UnixMilli(today.dueMS).In(zone), time.UnixMilli(before.dueMS).In(zone))
			}
			before = today
		}
	}
}

func TestAStampTellsWhenALoanBeganAndEnds(t *testing.T) {
	for _, test := range []struct{ zone, stamp, due, since string }{
		// By an older version: 24 hours a day, from the moment of the loan.
		{"UTC", "17977608001230028", "2026-12-20T10:00:00Z", "2026-11-22T10:00:00Z"},
		{"UTC", "17977608009990001", "2026-12-20T10:00:00Z", "2026-12-19T10:00:00Z"},
		{"UTC", "17977608000003650", "2026-12-20T10:00:00Z", "2016-12-22T10:00:00Z"},
		{"Europe/Berlin", "17931402000000028", "2026-10-27T23:30:00+01:00", "2026-09-30T00:30:00+02:00"},
		// To the end of a day.
		{"Europe/Berlin", "17933147999990028", "2026-10-29T23:59:59+01:00", "2026-10-01T00:00:00+02:00"},
		{"UTC", "17933183999990028", "2026-10-29T23:59:59Z", "2026-10-01T00:00:00Z"},
		{"UTC", "99999999999999999", "2286-11-20T17:46:39Z", "2259-07-06T17:46:39Z"},
	} {
		zone := zoneOf(t, test.zone)
		due, since := parseStamp(test.stamp, zone)
		if got := due.Format(time.RFC3339); got != test.due {
			t.Errorf("by its stamp %s a loan ends in %s at %s, want %s", test.stamp, test.zone, got, test.due)
		}
		if got := since.Truncate(time.Second).Format(time.RFC3339); got != test.since {
			t.Errorf("by its stamp %s a loan began in %s at %s, want %s", test.stamp, test.zone, got, test.since)
		}
	}
	for _, stamp := range []string{"", "geb", "0028"} {
		if due, since := parseStamp(stamp, time.UTC); due.Unix() > 0 || since.Unix() > 0 {
			t.Errorf("parseStamp(%q) = %s, %s, want no time", stamp, due, since)
		}
	}
}
