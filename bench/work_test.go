package main

import "testing"

func TestDistinctOrdersNameNoBookTwice(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range distinctOrders(1000, "user") {
		if len(o.Books) < 1 || len(o.Books) > 2 {
			t.Fatalf("%s asks for %d books", o.User, len(o.Books))
		}
		for _, word := range append([]string{o.ID, o.User}, o.Books...) {
			if seen[word] {
				t.Fatalf("%s comes twice", word)
			}
			seen[word] = true
		}
	}
}

func TestMostOfTheContendedOrdersAreRefused(t *testing.T) {
	w := contendedOrders(100_000)
	holder := map[string]string{}
	refused := 0
	for i := range w.requests {
		granted := false
		for _, book := range w.requests[i].Books {
			if holder[book] == "" {
				holder[book], granted = w.requests[i].User, true
			}
		}
		returned := false
		for _, book := range w.returns[i].Books {
			if holder[book] == w.returns[i].User {
				delete(holder, book)
				returned = true
			}
		}
		for _, done := range []bool{granted, returned} {
			if !done {
				refused++
			}
		}
	}
	share := float64(refused) / float64(w.size())
	t.Logf("%.3f refused", share)
	if share < 0.6 || share > 0.9 {
		t.Errorf("%.2f of the orders are refused, want most but not nearly all", share)
	}
}
