package audit

import (
	"hash/fnv"
	"strconv"

	"example.com/library/library"
)

// keys names the services' keys, as docs/model.md tells of them.
type keys struct{ library.Keys }

func (k keys) loans() string           { return k.Key("lending:loans") }
func (k keys) cards() string           { return k.Key("lending:card:") }
func (k keys) card(user string) string { return k.cards() + user }
func (k keys) fetching() string        { return k.Key("lending:fetching") }
func (k keys) front() string           { return k.Key("lending:front") }
func (k keys) receipts() string        { return k.Key("lending:receipts") }
func (k keys) olderReceipts() string   { return k.Key("lending:receipts:older") }
func (k keys) page() string            { return k.Key("lending:receipts:page") }
func (k keys) terms() string           { return k.Key("lending:terms") }
func (k keys) bays() string            { return k.Key("shelving:out:") }
func (k keys) away() string            { return k.Key("shelving:away") }
func (k keys) awaited() string         { return k.Key("shelving:awaited") }

// bay is the part of the shelves that a book belongs to.
func (k keys) bay(book string) string {
	hash := fnv.New32a()
	hash.Write([]byte(book))
	return k.bays() + strconv.Itoa(int(uint16(hash.Sum32())))
}
