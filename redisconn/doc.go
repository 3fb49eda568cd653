// Package redisconn connects to the Redis that has a library: addresses, TLS, Redis
// Cluster, replicas. It tells which errors of Redis pass by themselves, and what a
// person can do about the others.
package redisconn
