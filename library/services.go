package library

// The services' names. Each is also the name of the service's group in its inboxes, of
// its user of Redis, and what its keys begin with.
const (
	Lending  = "lending"
	Shelving = "shelving"
)

// services is the registry: a service that is not in it reads nothing and is shown
// nowhere. What runs a service is in cmd/lendingd/services.go, and what its user may do
// in acl/acl.go.
var services = []struct {
	name    string
	inboxes func(Keys) []string
}{
	{Lending, func(k Keys) []string { return []string{k.Requests(), k.Returns(), k.Deliveries()} }},
	{Shelving, func(k Keys) []string { return []string{k.Fetches(), k.Stores()} }},
}

// Services are the names of all services, in the order in which they are shown.
func Services() []string {
	names := make([]string, len(services))
	for i, service := range services {
		names[i] = service.name
	}
	return names
}

// Inboxes are the streams a service reads; none if there is no such service.
func (k Keys) Inboxes(service string) []string {
	for _, known := range services {
		if known.name == service {
			return known.inboxes(k)
		}
	}
	return nil
}
