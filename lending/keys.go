package lending

import "example.com/library/library"

// keys builds the names of the lending service's own keys. Nobody else writes
// them, but for a receipt that says rejected: that is written by whoever sets the
// service's entries aside on its behalf, see package stream.
type keys struct{ library.Keys }

// loans is a HASH: book → user.
func (k keys) loans() string { return k.Key("lending:loans") }

// card is a HASH: book → "due_ms since_ms". Its length is what the limit counts.
func (k keys) card(user string) string { return k.Key("lending:card:" + user) }

// fetching is a HASH: book → "request bell", for lent books that are on their way
// from the shelves. The bell may be empty.
func (k keys) fetching() string { return k.Key("lending:fetching") }

// front is a ZSET of the books in front storage, scored by their demand when they came.
func (k keys) front() string { return k.Key("lending:front") }

// demand is a ZSET: book → the logarithm of how often it was asked for, aged.
func (k keys) demand() string { return k.Key("lending:demand") }

// clock is a STRING, a number that grows with every book asked for: the time by
// which demand ages.
func (k keys) clock() string { return k.Key("lending:clock") }

// terms is a HASH: what the instance that started last lends by. Fields:
// loans_max, loan_ms, front_max.
func (k keys) terms() string { return k.Key("lending:terms") }

// receipt is a STRING with a time to live, the answer to a request as JSON.
func (k keys) receipt(id string) string { return k.Key("lending:receipt:" + id) }

// bells is the prefix of the Pub/Sub channels on which waiting clients are told
// of receipts and arrivals; a client's own word follows it.
func (k keys) bells() string { return k.Key("lending:bell:") }
