package lending

import "example.com/library/library"

// keys builds the names of the lending service's own keys. Nobody else writes
// them, but for a receipt that says rejected: that is written by whoever sets the
// service's entries aside on its behalf, see package worker.
type keys struct{ library.Keys }

// loans is a HASH: book → user.
func (k keys) loans() string { return k.Key("lending:loans") }

// card is a HASH: book → stamp, see day.stamp. Its length is what the limit counts.
func (k keys) card(user string) string { return k.Key("lending:card:" + user) }

// fetching is a HASH: book → "request bell", for lent books that are on their way
// from the shelves. The bell may be empty.
func (k keys) fetching() string { return k.Key("lending:fetching") }

// front is a SET of the books in front storage.
func (k keys) front() string { return k.Key("lending:front") }

// demand is a HASH: book → the logarithm of how often it was lent, aged.
func (k keys) demand() string { return k.Key("lending:demand") }

// faded is a HASH, what demand was before it had so many books that it began anew.
func (k keys) faded() string { return k.Key("lending:demand:faded") }

// clock is a STRING, a number that grows with every loan that ends: the time by
// which demand ages.
func (k keys) clock() string { return k.Key("lending:clock") }

// receipts is a HASH: request id → the answer as JSON. It is a page: when page has
// ended, the next decision makes it the older page, and begins a new one.
func (k keys) receipts() string { return k.Key("lending:receipts") }

// olderReceipts is a HASH, the page before. It is forgotten when the next one is full.
func (k keys) olderReceipts() string { return k.Key("lending:receipts:older") }

// page is a STRING with a time to live: the page of receipts is full when it has ended.
func (k keys) page() string { return k.Key("lending:receipts:page") }

// bells is the prefix of the Pub/Sub channels on which waiting clients are told
// of receipts and arrivals; a client's own word follows it.
func (k keys) bells() string { return k.Key("lending:bell:") }
