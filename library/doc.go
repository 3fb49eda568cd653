// Package library holds the words that the services and the programs share: what a
// name may be, and which keys lie between the services. It knows nothing of Redis.
package library
