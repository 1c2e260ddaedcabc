package auth

import (
	"container/list"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/parley-chat/parley/pkg/chat"
)

// The kinds of attempt that are limited: by address, and searches by person, so that nobody lists everybody.
const (
	LimitRegister  = "register"
	LimitLogin     = "login"
	LimitHandshake = "handshake"
	LimitSearch    = "search"
)

const (
	maxAddresses = 100_000 // per limiter, over all kinds
	maxHops      = 32      // of X-Forwarded-For
	ipv6Network  = 64      // bits that one customer is given whole
)

// Rate is how often something may happen: Burst at once, then one each Every.
type Rate struct {
	Every time.Duration
	Burst int
}

// DefaultRates leave room for many people behind one address.
func DefaultRates() map[string]Rate {
	return map[string]Rate{
		LimitRegister:  {Every: 10 * time.Second, Burst: 20},
		LimitLogin:     {Every: 2 * time.Second, Burst: 30},
		LimitHandshake: {Every: 50 * time.Millisecond, Burst: 300},
		LimitSearch:    {Every: time.Second, Burst: 60},
	}
}

// LimiterConfig is what a Limiter needs; every field has a default.
type LimiterConfig struct {
	Off            bool                  // everything is allowed
	TrustedProxies []netip.Prefix        // whose X-Forwarded-For counts
	Rates          map[string]Rate       // by kind; nil: DefaultRates
	Addresses      int                   // most that are remembered, people among them; 0: 100,000
	Now            func() time.Time      // nil: time.Now
	Reg            prometheus.Registerer // nil: the metrics stay unregistered
}

// Limiter limits what an address or a person may try. Loopback is exempt, unless it is a trusted proxy: then what comes
// from it comes from anywhere. Safe for concurrent use.
type Limiter struct {
	config  LimiterConfig
	metrics *limiterMetrics

	mu      sync.Mutex
	buckets map[bucketKey]*list.Element // guarded by mu, as is used
	used    list.List                   // of *bucket, the one used last in front
}

// bucketKey names who is limited: an address or a person.
type bucketKey struct {
	kind string
	from netip.Addr // IPv6: the /64
	user chat.UserID
}

type bucket struct {
	key    bucketKey
	tokens *rate.Limiter
}

// NewLimiter makes a Limiter.
func NewLimiter(c LimiterConfig) *Limiter {
	if c.Rates == nil {
		c.Rates = DefaultRates()
	}
	if c.Addresses <= 0 {
		c.Addresses = maxAddresses
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Limiter{config: c, metrics: newLimiterMetrics(c.Reg), buckets: map[bucketKey]*list.Element{}}
}

// ParseProxies reads networks such as 10.0.0.0/8.
func ParseProxies(networks []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, 0, len(networks))
	for _, text := range networks {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("trusted proxy %q is not a network such as 10.0.0.0/8: %w", chat.Clip(text), err)
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

// Allow takes one attempt of an address; retryAfter tells when the next one will be allowed. A kind without
// a rate is not limited.
func (l *Limiter) Allow(kind string, addr netip.Addr) (ok bool, retryAfter time.Duration) {
	if addr.IsLoopback() && !l.trusted(addr) {
		return true, 0
	}
	return l.take(bucketKey{kind: kind, from: network(addr)})
}

// AllowUser is Allow for a person, wherever they are.
func (l *Limiter) AllowUser(kind string, user chat.UserID) (ok bool, retryAfter time.Duration) {
	return l.take(bucketKey{kind: kind, user: user})
}

func (l *Limiter) take(key bucketKey) (ok bool, retryAfter time.Duration) {
	r, limited := l.config.Rates[key.kind]
	if l.config.Off || !limited {
		return true, 0
	}
	now := l.config.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.bucket(key, r, now).ReserveN(now, 1)
	wait := taken.DelayFrom(now)
	if wait == 0 {
		return true, 0
	}
	taken.CancelAt(now)
	l.metrics.limited.WithLabelValues(key.kind).Inc()
	return false, wait
}

// bucket finds or makes an address's bucket; the one not used for longest makes room.
func (l *Limiter) bucket(key bucketKey, r Rate, now time.Time) *rate.Limiter {
	if found, ok := l.buckets[key]; ok {
		l.used.MoveToFront(found)
		return found.Value.(*bucket).tokens
	}
	for l.used.Len() >= l.config.Addresses {
		l.evict(now)
	}
	b := &bucket{key: key, tokens: rate.NewLimiter(rate.Every(r.Every), r.Burst)}
	l.buckets[key] = l.used.PushFront(b)
	return b.tokens
}

func (l *Limiter) evict(now time.Time) {
	last := l.used.Back()
	b := last.Value.(*bucket)
	if b.tokens.TokensAt(now) < float64(b.tokens.Burst()) {
		l.metrics.evicted.Inc()
	}
	l.used.Remove(last)
	delete(l.buckets, b.key)
}

// network is who is limited together: an IPv4 address, or an IPv6 /64.
func network(addr netip.Addr) netip.Addr {
	if !addr.Is6() || addr.Is4In6() {
		return addr.Unmap()
	}
	p, err := addr.WithZone("").Prefix(ipv6Network)
	if err != nil {
		return addr
	}
	return p.Addr()
}

func (l *Limiter) trusted(addr netip.Addr) bool {
	addr = addr.WithZone("")
	for _, p := range l.config.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// ClientAddr is the address a request comes from: the connection's, and while that is a trusted proxy, the
// one it names, from the right. What a client wrote into the header itself is never reached. The zero
// Addr, which is limited like any other, stands for a connection without an address.
func (l *Limiter) ClientAddr(r *http.Request) netip.Addr {
	addr, _ := parseAddr(r.RemoteAddr)
	var hops []string
	for _, line := range r.Header.Values("X-Forwarded-For") {
		hops = append(hops, strings.Split(line, ",")...)
	}
	for i := len(hops) - 1; i >= 0 && len(hops)-i <= maxHops && l.trusted(addr); i-- {
		next, ok := parseAddr(strings.TrimSpace(hops[i]))
		if !ok {
			break
		}
		addr = next
	}
	return addr
}

// parseAddr reads an address with or without a port and brackets.
func parseAddr(s string) (netip.Addr, bool) {
	if both, err := netip.ParseAddrPort(s); err == nil {
		return both.Addr().Unmap(), true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}
