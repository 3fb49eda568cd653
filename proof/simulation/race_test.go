//go:build race

package simulation

// With the race detector a run takes ten times as long, and its processes have one
// thread each, so a sample has to do.
const (
	seedsDefault = 20
	pointsStride = 50
)
