package main

import (
	"testing"
)

func TestNumbersAreWrittenAsPeopleReadThem(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 0.654: "0.65", 1: "1", 1.3: "1.3", 12.34: "12.3", 999.6: "1,000", 123.4: "123",
		1000: "1,000", 81234.5: "81,235", 1234567: "1,234,567",
	} {
		if got := number(value); got != want {
			t.Errorf("number(%v) = %q, want %q", value, got, want)
		}
	}
}

func TestATableLeavesOutColumnsThatAreEmpty(t *testing.T) {
	met := true
	got := markdown([]Row{
		{Section: "Speed", Name: "slow", Samples: []float64{1, 3, 2}, Unit: "a second"},
		{Section: "Speed", Name: "fast", Samples: []float64{2000}, Unit: "a second", Ratios: []float64{2, 4}, Against: "slow", Target: "≥ 1.00", Met: &met},
	})
	want := `
**Speed**

|      | median         | spread | ratio                   | target   |
|------|----------------|--------|-------------------------|----------|
| slow | 2 a second     | (1–3)  |                         |          |
| fast | 2,000 a second |        | 3.00 × slow (2.00–4.00) | ≥ 1.00 ✓ |
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
