package main

import (
	"testing"

	"example.com/library/internal/hostile"
)

func FuzzAddresses(f *testing.F) { hostile.FuzzAddresses(f, app, "status") }
