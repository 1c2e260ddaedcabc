package sqlite

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	seconds  *prometheus.HistogramVec
	failures *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	return &metrics{
		seconds: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "parley_directory_write_seconds",
			Help:    "Time of a change of the directory, its sync included, by operation.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 3, 10),
		}, []string{"operation"}),
		failures: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_directory_failures_total",
			Help: "Calls that failed for a reason of the file or the disk, by kind of error.",
		}, []string{"kind"}),
	}
}
