// Package library holds the words that the services and the programs share: what a
// name may be, which keys lie between the services, and what a receipt says. It knows
// nothing of Redis.
package library
