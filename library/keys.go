package library

// Keys builds the names of the keys that lie between the services: the inboxes,
// the log, and the instances' locks. Each service's own state has its keys in
// the service's package. The library's name stands in braces, as a hash tag, so
// that Redis Cluster places all keys of a library together.
type Keys struct{ Library string }

// Key is the key of the library with that suffix.
func (k Keys) Key(suffix string) string { return "{" + k.Library + "}:" + suffix }

// Requests is a STREAM, the lending service's inbox for requests, appended to
// by clients. Fields: id, user, books (a JSON array), bell (optional).
func (k Keys) Requests() string { return k.Key("lending:requests") }

// Returns is a STREAM, the lending service's inbox for returns, appended to by
// clients. Fields as in Requests.
func (k Keys) Returns() string { return k.Key("lending:returns") }

// Deliveries is a STREAM, the lending service's inbox for books that come from
// the shelves, appended to by the shelving service. Field: orders (JSON, pairs of a
// request and a book).
func (k Keys) Deliveries() string { return k.Key("lending:deliveries") }

// Fetches is a STREAM, the shelving service's inbox for orders, appended to by
// the lending service. Field: orders, as in Deliveries.
func (k Keys) Fetches() string { return k.Key("shelving:fetches") }

// Stores is a STREAM, the shelving service's inbox for books to be put on the
// shelves, appended to by the lending service. Field: books (a JSON array).
func (k Keys) Stores() string { return k.Key("shelving:stores") }

// FromClients reports whether clients append to an inbox. To all others only services do.
func (k Keys) FromClients(inbox string) bool { return inbox == k.Requests() || inbox == k.Returns() }

// Rejected is a STREAM of the entries that a service set aside. Fields: stream,
// entry, reason, and the entry's own fields with a dot before their names.
func (k Keys) Rejected(service string) string { return k.Key(service + ":rejected") }

// Events is a STREAM, the log of all that happened, appended to by every script.
func (k Keys) Events() string { return k.Key("events") }

// Terms is a HASH, the library's terms, written by terms.lua alone. Fields: those of
// EachTerm; version, the id of the event that tells of them; and by, who set them.
func (k Keys) Terms() string { return k.Key("terms") }

// NotedTerms is a HASH, what the terms were called while each instance had its own.
// Programs of that time read it, and write it when they start, so terms.lua keeps a copy
// of the terms there. Fields: loans_max, loan_days, front_max, receipt_ms, log_max, and
// since_ms, when they were written last.
func (k Keys) NotedTerms() string { return k.Key("lending:terms") }

// Samples is a STREAM of how the library stood every few seconds, for the gateways' charts.
// Its ids are the moments that the samples are for, so that of several gateways the first
// one adds a moment's sample, and the others find it there. Field: sample (JSON).
func (k Keys) Samples() string { return k.Key("gateway:samples") }

// Instance is a STRING with a time to live, the lock by which an instance holds
// its name: a random token, then a JSON object with host, pid and since.
func (k Keys) Instance(name string) string { return k.Key("instance:" + name) }
