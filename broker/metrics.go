package broker

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"chronik/logstore"
)

// metrics are the node's figures for Prometheus. The names under kafka_ are those
// that dashboards for Apache Kafka use.
type metrics struct {
	registry    *prometheus.Registry
	requests    map[int16]prometheus.Counter
	latency     map[int16]prometheus.Observer
	connections prometheus.Gauge
	panics      prometheus.Counter
	bytesIn     prometheus.Counter
	bytesOut    prometheus.Counter
	recordsIn   prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry:    prometheus.NewRegistry(),
		requests:    map[int16]prometheus.Counter{},
		latency:     map[int16]prometheus.Observer{},
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "chronik_connections", Help: "Open client connections."}),
		panics:      prometheus.NewCounter(prometheus.CounterOpts{Name: "chronik_panics_total", Help: "Requests that ended in a recovered panic: each is a bug."}),
		bytesIn:     prometheus.NewCounter(prometheus.CounterOpts{Name: "kafka_server_brokertopicmetrics_bytesin_total", Help: "Bytes of record batches appended by producers."}),
		bytesOut:    prometheus.NewCounter(prometheus.CounterOpts{Name: "kafka_server_brokertopicmetrics_bytesout_total", Help: "Bytes of record batches given to consumers."}),
		recordsIn:   prometheus.NewCounter(prometheus.CounterOpts{Name: "kafka_server_brokertopicmetrics_messagesin_total", Help: "Records appended by producers."}),
	}
	m.registry.MustRegister(m.connections, m.panics, m.bytesIn, m.bytesOut, m.recordsIn,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// serve prepares the figures of every route, so that counting is one map read.
func (m *metrics) serve(routes map[int16]route) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chronik_requests_total", Help: "Requests by API."}, []string{"api"})
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "chronik_request_seconds", Help: "Time in the handler by API; Produce and Fetch are not timed here.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
	}, []string{"api"})
	for key := range routes {
		api := apiName(key)
		m.requests[key], m.latency[key] = requests.WithLabelValues(api), latency.WithLabelValues(api)
	}
	m.registry.MustRegister(requests, latency)
}

// compaction adds the figures of compaction.
func (m *metrics) compaction(now func() logstore.CompactionStats) {
	counter := func(name, help string, value func(logstore.CompactionStats) int64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value(now())) }))
	}
	counter("chronik_compactions_total", "Logs compacted.", func(s logstore.CompactionStats) int64 { return s.Runs })
	counter("chronik_compaction_read_bytes_total", "Bytes read by compaction.", func(s logstore.CompactionStats) int64 { return s.BytesRead })
	counter("chronik_compaction_written_bytes_total", "Bytes written by compaction.", func(s logstore.CompactionStats) int64 { return s.BytesWritten })
	m.gauge("chronik_compaction_failing_logs", "Logs whose last compaction failed.", func() float64 { return float64(now().FailingLogs) })
}

// gauge adds a figure that is read when it is asked for.
func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}
