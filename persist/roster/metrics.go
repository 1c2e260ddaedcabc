package roster

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	rows        *prometheus.CounterVec
	quarantined *prometheus.CounterVec
	position    *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer, partition int) *metrics {
	label := prometheus.Labels{"partition": strconv.Itoa(partition)}
	factory := promauto.With(reg)
	return &metrics{
		rows: factory.NewCounterVec(prometheus.CounterOpts{
			Name:        "parley_roster_rows_total",
			Help:        "Rows written to the projection, by table.",
			ConstLabels: label,
		}, []string{"table"}),
		quarantined: factory.NewCounterVec(prometheus.CounterOpts{
			Name:        "parley_roster_quarantined_total",
			Help:        "Records passed over because they could not be projected, by kind of record.",
			ConstLabels: label,
		}, []string{"kind"}),
		position: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name:        "parley_roster_position",
			Help:        "Stream sequence up to which the log is projected, by generation.",
			ConstLabels: label,
		}, []string{"generation"}),
	}
}
