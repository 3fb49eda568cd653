package redisconn

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// SplitAddresses takes apart a text that names several addresses with commas
// between them. A comma in a URL's password is kept: what has an @ and no scheme
// is no address, but the rest of the one before it.
func SplitAddresses(text string) []string {
	var addresses []string
	for part := range strings.SplitSeq(text, ",") {
		if strings.Contains(part, "@") && !strings.Contains(part, "://") {
			begin := len(addresses)
			for begin > 0 && !strings.Contains(addresses[begin-1], "@") {
				begin--
				if strings.Contains(addresses[begin], "://") {
					break
				}
			}
			// Where no URL goes before it, it is refused as a whole, so that no part of a
			// password is taken for an address and shown.
			part = strings.Join(append(addresses[begin:], part), ",")
			addresses = addresses[:begin]
		}
		addresses = append(addresses, part)
	}
	for i, address := range addresses {
		if trimmed := strings.TrimSpace(address); trimmed != "" {
			addresses[i] = trimmed
		}
	}
	return slices.DeleteFunc(addresses, func(address string) bool { return address == "" })
}

// place chooses the server that a library stands on, by rendezvous hashing: each
// server bids a hash of its own name and the library's, and the highest bid wins.
// So the same servers in any order give the same answer, a server more takes some
// libraries over and leaves all others where they are, and one less gives away
// only its own.
//
// A server's name is its host:port or socket, and its database. It must not
// change: a server that is given another name is another server.
func place(library string, servers []*redis.Options) *redis.Options {
	var placed *redis.Options
	var highest [sha256.Size]byte
	for _, server := range servers {
		bid := sha256.Sum256([]byte(server.Addr + "/" + strconv.Itoa(server.DB) + " " + library))
		if placed == nil || slices.Compare(bid[:], highest[:]) > 0 {
			placed, highest = server, bid
		}
	}
	return placed
}
