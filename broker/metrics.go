package broker

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/twmb/franz-go/pkg/kmsg"
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
		api := kmsg.NameForKey(key)
		m.requests[key], m.latency[key] = requests.WithLabelValues(api), latency.WithLabelValues(api)
	}
	m.registry.MustRegister(requests, latency)
}

// gauge adds a figure that is read when it is asked for.
func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}
