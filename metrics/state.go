package metrics

import (
	"context"
	"time"

	"example.com/library/library"
	"example.com/library/status"
	"example.com/library/worker"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// readPatience is how long the state of all libraries may take to read. Prometheus itself
// waits for 10 s.
const readPatience = 3 * time.Second

// ReadState adds how a library stands: it is read whenever somebody reads the figures.
func (m *Metrics) ReadState(rdb redis.UniversalClient, keys library.Keys) {
	labels := prometheus.Labels{"library": keys.Library}
	desc := func(name, help string, variable ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, variable, labels)
	}
	m.Register(&state{
		rdb: rdb, keys: keys,
		appended:  desc("inbox_appended_entries_total", "Entries that were ever appended to an inbox; left out where the server does not tell.", "inbox"),
		backlog:   desc("inbox_backlog_entries", "Entries that no instance was given yet.", "inbox"),
		pending:   desc("inbox_pending_entries", "Entries in some instance's hands.", "inbox"),
		oldest:    desc("inbox_oldest_entry_age_seconds", "Age of the oldest entry that is unread or pending; 0 without any.", "inbox"),
		rejected:  desc("rejected_entries", "Entries that a service keeps set aside.", "service"),
		instances: desc("instances", "Instances that hold their names, by the service that they run.", "service"),
		books:     desc("books", "Books that are not on the shelves, by place.", "place"),
		frontMax:  desc("front_storage_capacity_books", "How many books front storage has room for."),
		out:       desc("shelves_out_books", "Books that the shelving service knows to be off the shelves."),
		awaited:   desc("shelves_awaited_books", "Of the books off the shelves, those that are ordered again."),
		used:      desc("redis_memory_used_bytes", "Memory that the server uses; left out if it has no limit."),
		max:       desc("redis_memory_max_bytes", "The limit of the server's memory; left out if it has none."),
		success:   desc("read_success", "Whether a figure could be read from Redis: 1 or 0.", "figure"),
		duration:  desc("read_duration_seconds", "How long it took to read how the library stands."),
	})
}

// A state is how a library stands.
type state struct {
	rdb  redis.UniversalClient
	keys library.Keys

	appended, backlog, pending, oldest, rejected, instances, books, frontMax, out, awaited, used, max, success, duration *prometheus.Desc
}

func (s *state) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		s.appended, s.backlog, s.pending, s.oldest, s.rejected, s.instances, s.books, s.frontMax, s.out, s.awaited, s.used, s.max, s.success, s.duration,
	} {
		descs <- desc
	}
}

func (s *state) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readPatience)
	defer cancel()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	began := time.Now()
	now, _ := status.Look(ctx, s.rdb, s.keys) // what failed is in now.Unknown
	gauge(s.duration, time.Since(began).Seconds())
	known := func(figure string) bool {
		is := now.Unknown[figure] == nil
		gauge(s.success, one(is), figure)
		return is
	}
	for _, service := range library.Services() {
		if known(service + status.Rejected) {
			gauge(s.rejected, float64(now.Rejected[service]), service)
		}
		for _, inbox := range s.keys.Inboxes(service) {
			known(worker.State{Stream: inbox}.Name())
		}
	}
	for _, inbox := range now.Streams {
		if inbox.Appended >= 0 {
			metrics <- prometheus.MustNewConstMetric(s.appended, prometheus.CounterValue, float64(inbox.Appended), inbox.Name())
		}
		gauge(s.backlog, float64(inbox.Unread), inbox.Name())
		gauge(s.pending, float64(inbox.Pending), inbox.Name())
		gauge(s.oldest, inbox.Oldest.Seconds(), inbox.Name())
	}
	if known(status.Instances) {
		running := map[string]int{}
		for _, instance := range now.Instances {
			for _, service := range instance.Services {
				running[service]++
			}
		}
		for _, service := range library.Services() {
			gauge(s.instances, float64(running[service]), service)
		}
	}
	if known(status.Lending) {
		gauge(s.books, float64(now.Lending.Loans-now.Lending.OnTheWay), "in_hand")
		gauge(s.books, float64(now.Lending.OnTheWay), "on_the_way")
		gauge(s.books, float64(now.Lending.Front), "front_storage")
		gauge(s.frontMax, float64(now.Lending.FrontMax))
	}
	if known(status.Shelving) {
		gauge(s.out, float64(now.Shelving.Out))
		gauge(s.awaited, float64(now.Shelving.Awaited))
	}
	if known(status.Memory) && now.Memory.Max > 0 {
		gauge(s.used, float64(now.Memory.Used))
		gauge(s.max, float64(now.Memory.Max))
	}
}
