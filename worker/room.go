package worker

import (
	"context"
	"math"
	"time"

	"example.com/library/redisconn"
	"example.com/library/scripts"
)

const (
	// roomPause is the time between two looks at a server's memory that is half full or
	// more, and roomPauseCalm else.
	roomPause     = 100 * time.Millisecond
	roomPauseCalm = time.Second
	// shedTime is how long room is made in one go, before another look for entries.
	shedTime = time.Second
	// entryBytes is about how much memory an order needs once it is decided: its loan,
	// its receipt, and its part of the log.
	entryBytes = 1 << 10
	// unreadMin is how many unread entries of an inbox are never given up.
	unreadMin = 1000
	// loggedMin is to how many entries the log is shortened at most.
	loggedMin = 1000
)

// A room is what a consumer knows of the server's memory. Only who has the turn to read
// uses it.
type room struct {
	memory redisconn.Memory
	looked time.Time
	full   bool
	begun  bool // some was given up, and more must be
}

// makeRoom reports whether the inbox may be read as far as the server's memory goes, and
// makes room where it is full. It looks from time to time only, and waits for that where
// nothing may be read.
func (c *consumer) makeRoom(ctx context.Context) (bool, error) {
	if c.MemoryMax == 0 {
		return true, nil
	}
	pause := roomPauseCalm
	if c.room.memory.Percent() >= 50 {
		pause = roomPause
	}
	waits := c.room.full && c.Waits
	if since := time.Since(c.room.looked); since < pause && !c.room.begun {
		if !waits {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-time.After(pause - since):
		}
	}
	err := c.look(ctx)
	if err != nil {
		return false, err
	}
	if (c.isFull() || c.room.begun) != c.room.full {
		c.room.full = !c.room.full
		if c.room.full {
			c.Log.Warn("the server's memory is full; making room", "stream", c.Stream, "used", c.room.memory.Used, "max", c.room.memory.Max)
		} else {
			c.Log.Info("the server's memory has room again", "stream", c.Stream, "used", c.room.memory.Used, "max", c.room.memory.Max)
		}
	}
	if c.room.full {
		c.room.begun = true
		err = c.shed(ctx)
	}
	return !c.room.full || !c.room.begun && !c.Waits, err
}

func (c *consumer) look(ctx context.Context) error {
	memory, err := redisconn.ReadMemory(ctx, c.Redis, c.Keys)
	if err == nil {
		c.room.memory, c.room.looked = memory, time.Now()
	}
	return err
}

// limit is how much memory may be used before the server counts as full.
func (c *consumer) limit() int64 { return c.room.memory.Max / 100 * c.MemoryMax }

func (c *consumer) isFull() bool {
	return c.room.memory.Max > 0 && c.room.memory.Used >= c.limit()
}

// shed gives up, in this order: what no client may have sent, because the inbox was too long
// already; the log, half of it at a time; and what there would be no room to decide.
func (c *consumer) shed(ctx context.Context) error {
	var shed, cut int64
	defer func() {
		if shed > 0 {
			c.Log.Error("the server's memory is full: entries that nobody had read were given up", "stream", c.Stream, "entries", shed)
		}
		if cut > 0 {
			c.Log.Error("the server's memory is full: the log was shortened", "entries", cut)
		}
	}()
	keep, logKeep := c.UnreadMax, int64(math.MaxInt64)
	for began := time.Now(); time.Since(began) < shedTime && ctx.Err() == nil; {
		reply, err := scripts.Shed.Run(ctx, c.Redis, []string{c.Instance.Key(), c.Stream, c.Keys.Events()},
			c.Instance.Token(), c.Instance.Name(), c.Service, keep, logKeep).Int64Slice()
		if err != nil {
			return err
		}
		gone, unread, logged := reply[0], reply[1], reply[2]
		if shed += gone; logKeep < math.MaxInt64 {
			cut, logKeep = logKeep, math.MaxInt64
		}
		if err := c.look(ctx); err != nil {
			return err
		}
		fits := max(unreadMin, (c.limit()-c.room.memory.Used)/entryBytes)
		switch {
		case gone > 0 && unread > keep:
		case c.isFull() && logged > loggedMin:
			logKeep = max(loggedMin, logged/2)
		case unread > fits && (gone > 0 || keep > fits):
			keep = fits
		default:
			c.room.begun = false
			return nil
		}
	}
	return nil
}
