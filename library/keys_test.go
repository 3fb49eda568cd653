package library

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Programs of another version may share the library, so a key's name is a promise.
func TestEveryKeyOfTheLibraryHasItsPinnedName(t *testing.T) {
	keys := Keys{Library: "main"}
	got := map[string]string{
		"Key":                keys.Key("some:suffix"),
		"Requests":           keys.Requests(),
		"Returns":            keys.Returns(),
		"Deliveries":         keys.Deliveries(),
		"Fetches":            keys.Fetches(),
		"Stores":             keys.Stores(),
		"Rejected(Lending)":  keys.Rejected(Lending),
		"Rejected(Shelving)": keys.Rejected(Shelving),
		"Events":             keys.Events(),
		"Terms":              keys.Terms(),
		"NotedTerms":         keys.NotedTerms(),
		"Samples":            keys.Samples(),
		"Instance":           keys.Instance("worker1"),
	}
	want := map[string]string{
		"Key":                "{main}:some:suffix",
		"Requests":           "{main}:lending:requests",
		"Returns":            "{main}:lending:returns",
		"Deliveries":         "{main}:lending:deliveries",
		"Fetches":            "{main}:shelving:fetches",
		"Stores":             "{main}:shelving:stores",
		"Rejected(Lending)":  "{main}:lending:rejected",
		"Rejected(Shelving)": "{main}:shelving:rejected",
		"Events":             "{main}:events",
		"Terms":              "{main}:terms",
		"NotedTerms":         "{main}:lending:terms",
		"Samples":            "{main}:gateway:samples",
		"Instance":           "{main}:instance:worker1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestTheInboxesOfEachServiceArePinned(t *testing.T) {
	keys := Keys{Library: "north"}
	got := map[string][]string{}
	for _, service := range Services() {
		got[service] = keys.Inboxes(service)
	}
	want := map[string][]string{
		"lending":  {"{north}:lending:requests", "{north}:lending:returns", "{north}:lending:deliveries"},
		"shelving": {"{north}:shelving:fetches", "{north}:shelving:stores"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inboxes (-want +got):\n%s", diff)
	}
}
