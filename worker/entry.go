package worker

import (
	"fmt"
	"strings"

	"example.com/library/library"

	"github.com/redis/go-redis/v9"
)

// An Entry is one entry of an inbox, pending for this instance.
type Entry struct {
	// ID is the entry's id in its stream.
	ID string
	// Fields are what its appender wrote, unchecked.
	Fields map[string]string
	// Deliveries counts how often it was given to an instance, this time included, and
	// but for those that gave it back.
	Deliveries int64
	// Token is the instance's token at the time. Scripts are fenced by it, so that
	// nothing is done with an entry that was in hand while the name was lost.
	Token string
}

func newEntry(message redis.XMessage, token string) Entry {
	fields := make(map[string]string, len(message.Values))
	for name, value := range message.Values {
		fields[name], _ = value.(string)
	}
	return Entry{ID: message.ID, Fields: fields, Deliveries: 1, Token: token}
}

// Field returns a field that must be there. Its error names the field.
func (e Entry) Field(name string) (string, error) {
	value, ok := e.Fields[name]
	if !ok {
		return "", fmt.Errorf("it has no field %q", name)
	}
	return value, nil
}

// suspect reports whether an instance ended that had the entry in hand. It is in a batch
// of its own then, and Config.Alone is held for it.
func (e Entry) suspect() bool { return e.Deliveries > 1 }

// A Rejection is an entry that cannot be applied, and why.
type Rejection struct {
	Entry  Entry
	Reason string
	// Request is the request's id, where it could be told; else it is empty, and so
	// are Receipt, which tells the asker so, and Pages, the keys of this page of
	// receipts, the older one, and the mark that this page is not full.
	Request, Receipt string
	Pages            []string
	// Bell is the channel on which the receipt is rung; empty for none.
	Bell string
}

// An entry's own fields are kept with it when it is set aside, unless they are
// more or larger than these.
const (
	keptFieldsMax = 64
	keptBytesMax  = 64 << 10
)

// kept are the entry's fields as reject.lua stores them: each name with a dot
// before it. It is empty where they are too many or too large.
func (e Entry) kept() []any {
	if len(e.Fields) > keptFieldsMax {
		return nil
	}
	size, kept := 0, []any{}
	for name, value := range e.Fields {
		size += len(name) + len(value)
		kept = append(kept, "."+name, value)
	}
	if size > keptBytesMax {
		return nil
	}
	return kept
}

// shortened bounds what a reason quotes.
func shortened(reason string) string {
	const reasonBytesMax = 500
	if reason = library.Plain(reason); len(reason) > reasonBytesMax {
		reason = strings.ToValidUTF8(reason[:reasonBytesMax], "") + "…"
	}
	return reason
}

// Reject sets an entry aside without a receipt.
func Reject(entry Entry, reason string) Rejection {
	return Rejection{Entry: entry, Reason: shortened(reason)}
}
