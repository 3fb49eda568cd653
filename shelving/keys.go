package shelving

import "example.com/library/library"

// keys builds the names of the shelving service's own keys. Nobody else writes them.
type keys struct{ library.Keys }

// out is a HASH: book → request, for every book that is not on the shelves. All
// other books anyone can name are on them, at no cost.
func (k keys) out() string { return k.Key("shelving:out") }

// awaited is a HASH: book → request, for books that are out and were ordered again.
func (k keys) awaited() string { return k.Key("shelving:awaited") }
