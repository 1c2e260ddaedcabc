package auth

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	calls          *prometheus.CounterVec
	busy           prometheus.Counter
	reused         prometheus.Counter
	ticketsRefused prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	return &metrics{
		calls: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_auth_calls_total",
			Help: "Registrations, logins, refreshes and revocations, by operation and outcome (ok or the kind of error).",
		}, []string{"operation", "outcome"}),
		busy: factory.NewCounter(prometheus.CounterOpts{
			Name: "parley_auth_hashers_busy_total",
			Help: "Passwords not hashed because too many were being hashed already.",
		}),
		reused: factory.NewCounter(prometheus.CounterOpts{
			Name: "parley_auth_refresh_reused_total",
			Help: "Refresh tokens presented a second time; each ended its session.",
		}),
		ticketsRefused: factory.NewCounter(prometheus.CounterOpts{
			Name: "parley_auth_tickets_refused_total",
			Help: "Tickets not given because too many wait to be used.",
		}),
	}
}

// gauges are read when the metrics are scraped.
func (s *Service) gauges(reg prometheus.Registerer) {
	factory := promauto.With(reg)
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parley_auth_hash_waiting",
		Help: "Logins and registrations that wait for a hasher.",
	}, func() float64 { return float64(s.hasher.waiting.Load()) })
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parley_auth_tickets",
		Help: "Tickets given and not yet used.",
	}, func() float64 { return float64(s.tickets.count()) })
}

type limiterMetrics struct {
	limited *prometheus.CounterVec
	evicted prometheus.Counter
}

func newLimiterMetrics(reg prometheus.Registerer) *limiterMetrics {
	factory := promauto.With(reg)
	return &limiterMetrics{
		limited: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_auth_limited_total",
			Help: "Attempts refused because their address made too many, by kind.",
		}, []string{"kind"}),
		evicted: factory.NewCounter(prometheus.CounterOpts{
			Name: "parley_auth_limiter_evictions_total",
			Help: "Addresses forgotten, before they were idle, because too many were held.",
		}),
	}
}
