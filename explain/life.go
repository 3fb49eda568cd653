package explain

import (
	"errors"
	"time"

	"example.com/library/events"
	"example.com/library/library"
)

// ErrNoTrace is returned when nothing in the library tells of an order.
var ErrNoTrace = errors.New("there is no trace of this order")

// A State is how far an order has come.
type State string

// The states.
const (
	Waiting  State = "waiting"    // nobody has decided it
	OnItsWay State = "on_its_way" // it was decided, and books of it are still being fetched
	Done     State = "done"       // nothing is to come
	Rejected State = "rejected"   // it was set aside; a person may put it back
)

// A Life is what is known of one order.
type Life struct {
	ID string `json:"id"`
	// Action and User are whose order it is; empty where that could not be understood.
	Action library.Action `json:"action,omitempty"`
	User   string         `json:"user,omitempty"`
	State  State          `json:"state"`
	// Receipt is the answer; nil as long as there is none.
	Receipt *library.Receipt `json:"receipt,omitempty"`
	// Steps are what happened, in its order.
	Steps []Step `json:"steps"`
	// Next is what is still to come.
	Next []Next `json:"next"`
	// Cut says that steps may be missing, because the log does not reach back to the
	// order's decision.
	Cut bool `json:"cut"`
	// Log tells how far back the log was read.
	Log events.Reach `json:"log"`
}

// The steps that no event of the log is called by. The others are called as the event is.
const (
	// Accepted is when an entry that asks for it came into its inbox.
	Accepted = "accepted"
	// Ordered is when books were ordered from the shelves, in one step with the decision.
	Ordered = "ordered"
	// BroughtBack is when another order, a return, ended a loan of this one.
	BroughtBack = "brought_back"
)

// A Step is something that happened to an order.
type Step struct {
	Time time.Time `json:"time"`
	Step string    `json:"step"`
	// TookMS is how long it took since the step that it follows; 0 for the first.
	TookMS int64 `json:"took_ms"`
	// By is the instance that did it.
	By string `json:"by,omitempty"`
	// Books are those that it concerns.
	Books []string `json:"books,omitempty"`
	// Results are what became of each book, in a decision.
	Results []library.Line `json:"results,omitempty"`
	// Order is the other order that did it, where one did.
	Order string `json:"order,omitempty"`
	// Stream, Entry and Reason tell what was accepted, rejected or retried.
	Stream string `json:"stream,omitempty"`
	Entry  string `json:"entry,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Event is the id of the log's entry that tells of it.
	Event string `json:"event,omitempty"`
}

// A Next is something that is still to come.
type Next struct {
	// Step is what comes next: decided, fetched, handed_on (when the book comes back to
	// the shelves), delivered, or retried (by a person).
	Step  string   `json:"step"`
	Books []string `json:"books,omitempty"`
	// Stream and Entry are where it waits. They are empty where that was not found.
	Stream string `json:"stream,omitempty"`
	Entry  string `json:"entry,omitempty"`
	// Ahead is how many entries stand before it in the stream.
	Ahead int `json:"ahead"`
	// Pending tells in whose hands it is; nil while nobody has read it.
	Pending *Pending `json:"pending,omitempty"`
	// Reason says why it was set aside.
	Reason string `json:"reason,omitempty"`
}

// A Pending tells in whose hands an entry is.
type Pending struct {
	By string `json:"by"`
	// ForMS is since when, in milliseconds.
	ForMS int64 `json:"for_ms"`
	// Deliveries is how often it counts as given to an instance: more than once after an
	// instance ended with it in hand, and not at all while it waits for a walk to the shelves.
	Deliveries int64 `json:"deliveries"`
}
