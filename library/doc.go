// Package library holds the words both services and both programs share: what
// a name may be, which keys lie between the services, how to reach Redis, and
// which of its errors pass by themselves.
package library
