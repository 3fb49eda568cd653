package lending

import (
	"fmt"
	"strconv"
	"time"

	"example.com/library/library"
)

// A day is a day of the library's, and when loans end that are made on it: at the end
// of another day. A script knows no time zones, so it is told this, and asks for
// another day when its own clock is past the end of this one.
type day struct {
	fromMS, untilMS int64 // it begins, and the next one does, in milliseconds since 1970
	dueMS           int64 // the last millisecond of the day on which loans are due
	days            int   // how many days that is from this one
}

// newDay is the day of the library's in which a moment lies.
func newDay(now time.Time, zone *time.Location, loanDays int) day {
	date := library.DateOf(now, zone)
	if library.StartOf(date, zone).After(now) {
		// Clocks that are set back over midnight show an hour of the old day again.
		date = date.AddDate(0, 0, -1)
	}
	return day{
		fromMS:  library.StartOf(date, zone).UnixMilli(),
		untilMS: library.StartOf(date.AddDate(0, 0, 1), zone).UnixMilli(),
		dueMS:   library.StartOf(date.AddDate(0, 0, loanDays+1), zone).UnixMilli() - 1,
		days:    loanDays,
	}
}

// stamp is a field's value of a card: when the loan is due in milliseconds, and in the
// last four digits for how many days it was made. Redis keeps one number in a third of
// the memory that two in a text would take.
func (d day) stamp() string { return fmt.Sprintf("%d%04d", d.dueMS, d.days) }

// parseStamp reads a stamp: when a loan is due, and since when it is one. A loan is due
// at the end of a day of the library's, and its stamp tells on which day it was made.
// Of one that was made by an older version it tells the moment.
func parseStamp(stamp string, zone *time.Location) (due, since time.Time) {
	number, _ := strconv.ParseInt(stamp, 10, 64)
	end, days := library.Moment(number/10_000), int(number%10_000)
	if end.IsZero() {
		return end, end
	}
	date := library.DateOf(end, zone)
	if end.Add(time.Millisecond).Equal(library.StartOf(date.AddDate(0, 0, 1), zone)) {
		since = library.StartOf(date.AddDate(0, 0, -days), zone)
	} else {
		since = library.Moment(end.AddDate(0, 0, -days).UnixMilli())
	}
	return library.DueTime(end.UnixMilli()).In(zone), since.In(zone)
}
