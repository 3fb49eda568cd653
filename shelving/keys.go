package shelving

import (
	"hash/fnv"
	"strconv"

	"example.com/library/library"
)

// keys builds the names of the shelving service's own keys. Nobody else writes them.
type keys struct{ library.Keys }

// bays is into how many parts the record of what is out is divided: so many that
// each stays small even with millions of books out. Redis packs a small HASH
// tightly, in a fifth of the memory of a large one.
const bays = 1 << 16

// out is a HASH: book → "", for the books of one bay of the shelves that are not
// there. A book's bay is the lower half of its name's 32-bit FNV-1a hash. All other
// books anyone can name are on the shelves, at no cost.
func (k keys) out(book string) string {
	hash := fnv.New32a()
	hash.Write([]byte(book))
	return k.Key("shelving:out:" + strconv.Itoa(int(hash.Sum32()%bays)))
}

// away is a STRING: how many books are out, of all bays.
func (k keys) away() string { return k.Key("shelving:away") }

// awaited is a HASH: book → request, for books that are out and were ordered again.
func (k keys) awaited() string { return k.Key("shelving:awaited") }
