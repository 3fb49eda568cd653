//go:build !race

package simulation

const (
	seedsDefault = 300 // how many seeds TestSeeds plays
	pointsStride = 1   // of how many crash points one is played
)
