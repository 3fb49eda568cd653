//go:build !linux

package redistest

func gettid() int { return 0 }
