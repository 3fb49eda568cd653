package audit

import (
	"hash/fnv"
	"strconv"

	"example.com/library/library"
)

// keys names the services' keys, as docs/reference.md tells of them.
type keys struct{ library.Keys }

func (k keys) loans() string           { return k.Key("lending:loans") }
func (k keys) cards() string           { return k.Key("lending:card:") }
func (k keys) card(user string) string { return k.cards() + user }
func (k keys) fetching() string        { return k.Key("lending:fetching") }
func (k keys) front() string           { return k.Key("lending:front") }
func (k keys) demand() string          { return k.Key("lending:demand") }
func (k keys) faded() string           { return k.Key("lending:demand:faded") }
func (k keys) clock() string           { return k.Key("lending:clock") }
func (k keys) receipts() string        { return k.Key("lending:receipts") }
func (k keys) olderReceipts() string   { return k.Key("lending:receipts:older") }
func (k keys) page() string            { return k.Key("lending:receipts:page") }
func (k keys) bays() string            { return k.Key("shelving:out:") }
func (k keys) away() string            { return k.Key("shelving:away") }
func (k keys) awaited() string         { return k.Key("shelving:awaited") }
func (k keys) locks() string           { return k.Instance("") }

// bay is the part of the shelves that a book belongs to.
func (k keys) bay(book string) string {
	hash := fnv.New32a()
	hash.Write([]byte(book))
	return k.bays() + strconv.Itoa(int(uint16(hash.Sum32())))
}

// types has the type of each key that there is once in a library. Cards and bays are
// HASHes, and locks STRINGs.
func (k keys) types() map[string]string {
	types := map[string]string{
		k.Events(): "stream", k.Samples(): "stream",
		k.loans(): "hash", k.fetching(): "hash", k.demand(): "hash", k.faded(): "hash", k.receipts(): "hash", k.olderReceipts(): "hash",
		k.Terms(): "hash", k.NotedTerms(): "hash", k.awaited(): "hash",
		k.front(): "set",
		k.clock(): "string", k.page(): "string", k.away(): "string",
	}
	for _, service := range library.Services() {
		types[k.Rejected(service)] = "stream"
		for _, inbox := range k.Inboxes(service) {
			types[inbox] = "stream"
		}
	}
	return types
}
