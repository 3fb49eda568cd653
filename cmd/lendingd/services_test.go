package main

import (
	"maps"
	"slices"
	"testing"

	"example.com/library/acl"
	"example.com/library/library"

	"github.com/google/go-cmp/cmp"
)

func TestEveryServiceCanBeRunAndHasAUser(t *testing.T) {
	want := slices.Sorted(slices.Values(library.Services()))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(newService))); diff != "" {
		t.Errorf("services that can be run (-want +got):\n%s", diff)
	}
	for _, service := range want {
		if rules := acl.Rules(service, acl.Options{Libraries: []string{"main"}}); len(rules) < 200 {
			t.Errorf("the user %s has only the rules %s", service, rules)
		}
	}
}
