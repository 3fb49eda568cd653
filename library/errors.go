package library

import "errors"

// ErrName is returned when a name of a library, an instance, a user or a book breaks
// the rules; the error that wraps it says which rule.
var ErrName = errors.New("not a usable name")
