package auth

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
)

func testLimiter(change func(*LimiterConfig)) (*Limiter, *clock) {
	at := &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	c := LimiterConfig{Now: at.Now, Rates: map[string]Rate{LimitLogin: {Every: time.Second, Burst: 3}, LimitRegister: {Every: time.Minute, Burst: 1}}}
	if change != nil {
		change(&c)
	}
	return NewLimiter(c), at
}

// allowed counts how many of ten attempts pass.
func allowed(l *Limiter, kind, addr string) int {
	passed := 0
	for range 10 {
		if ok, _ := l.Allow(kind, netip.MustParseAddr(addr)); ok {
			passed++
		}
	}
	return passed
}

func TestAnAddressIsLimitedByKind(t *testing.T) {
	reg := prometheus.NewRegistry()
	l, at := testLimiter(func(c *LimiterConfig) { c.Reg = reg })
	if got := allowed(l, LimitLogin, "192.0.2.1"); got != 3 {
		t.Errorf("%d logins passed, want 3", got)
	}
	if got := allowed(l, LimitRegister, "192.0.2.1"); got != 1 {
		t.Errorf("%d registrations passed, want 1", got)
	}
	if got := allowed(l, "other", "192.0.2.1"); got != 10 {
		t.Errorf("%d attempts without a rate passed, want 10", got)
	}
	if got := allowed(l, LimitLogin, "192.0.2.2"); got != 3 {
		t.Errorf("%d logins of another address passed, want 3", got)
	}
	ok, wait := l.Allow(LimitLogin, netip.MustParseAddr("192.0.2.1"))
	if ok || wait != time.Second {
		t.Errorf("allowed %v, retry after %v, want 1 s", ok, wait)
	}
	at.advance(wait)
	if ok, _ := l.Allow(LimitLogin, netip.MustParseAddr("192.0.2.1")); !ok {
		t.Error("refused after the time it was told")
	}
	if got := counted(t, reg, "parley_auth_limited_total"); got != 7+9+7+1 { // two addresses' logins, registrations, one more login
		t.Errorf("%v refusals were counted", got)
	}
}

func TestAPersonIsLimitedWhereverTheyAre(t *testing.T) {
	l, at := testLimiter(nil)
	ann, bob := chat.NewUserID(), chat.NewUserID()
	for i := range 4 {
		if ok, _ := l.AllowUser(LimitLogin, ann); ok != (i < 3) {
			t.Errorf("try %d: %v", i, ok)
		}
	}
	if ok, _ := l.AllowUser(LimitLogin, bob); !ok {
		t.Error("another person is refused")
	}
	if ok, _ := l.Allow(LimitLogin, netip.MustParseAddr("192.0.2.1")); !ok {
		t.Error("an address is refused because of a person")
	}
	at.now = at.now.Add(time.Second)
	if ok, _ := l.AllowUser(LimitLogin, ann); !ok {
		t.Error("refused after the wait")
	}
}

func TestOneIPv6NetworkIsOneAddress(t *testing.T) {
	l, _ := testLimiter(nil)
	passed := 0
	for i := range 10 {
		if ok, _ := l.Allow(LimitLogin, netip.MustParseAddr(fmt.Sprintf("2001:db8:1:2::%x", i))); ok {
			passed++
		}
	}
	if passed != 3 {
		t.Errorf("%d of one /64 passed, want 3", passed)
	}
	if got := allowed(l, LimitLogin, "2001:db8:1:3::1"); got != 3 {
		t.Errorf("%d of the next /64 passed, want 3", got)
	}
	allowed(l, LimitLogin, "192.0.2.9")
	if got := allowed(l, LimitLogin, "::ffff:192.0.2.9"); got != 0 {
		t.Errorf("an IPv4 address in IPv6 form has a bucket of its own: %d passed", got)
	}
}

func TestLoopbackIsExemptUnlessItIsAProxy(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "127.9.9.9", "::1"} {
		l, _ := testLimiter(nil)
		if got := allowed(l, LimitRegister, addr); got != 10 {
			t.Errorf("%s: %d passed, want all", addr, got)
		}
		l, _ = testLimiter(func(c *LimiterConfig) {
			c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
		})
		if got := allowed(l, LimitRegister, addr); got != 1 {
			t.Errorf("%s as a proxy: %d passed, want 1", addr, got)
		}
	}
	l, _ := testLimiter(func(c *LimiterConfig) { c.Off = true })
	if got := allowed(l, LimitRegister, "192.0.2.1"); got != 10 {
		t.Errorf("off: %d passed", got)
	}
}

func TestTheAddressesHeldAreBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	l, at := testLimiter(func(c *LimiterConfig) { c.Addresses, c.Reg = 4, reg })
	busy := netip.MustParseAddr("192.0.2.100")
	for i := range 100 {
		l.Allow(LimitLogin, busy) // always in use: never the one to go
		l.Allow(LimitLogin, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		if len(l.buckets) > 4 || l.used.Len() != len(l.buckets) {
			t.Fatalf("%d addresses are held, %d listed", len(l.buckets), l.used.Len())
		}
	}
	if ok, _ := l.Allow(LimitLogin, busy); ok {
		t.Error("the busy address was forgotten")
	}
	if got := counted(t, reg, "parley_auth_limiter_evictions_total"); got != 97 {
		t.Errorf("%v evictions were counted, want 97", got)
	}
	at.advance(time.Hour) // all are idle: forgetting them loses nothing
	for i := range 4 {
		l.Allow(LimitLogin, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
	}
	if got := counted(t, reg, "parley_auth_limiter_evictions_total"); got != 97 {
		t.Errorf("%v evictions were counted after idleness, want 97", got)
	}
}

func TestClientAddr(t *testing.T) {
	proxies, err := ParseProxies([]string{"10.0.0.0/8", " 127.0.0.1/32", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	l, _ := testLimiter(func(c *LimiterConfig) { c.TrustedProxies = proxies })
	for _, c := range []struct {
		what, remote string
		forwarded    []string
		want         string
	}{
		{"no proxy", "192.0.2.1:5000", nil, "192.0.2.1"},
		{"no proxy, header forged", "192.0.2.1:5000", []string{"203.0.113.1"}, "192.0.2.1"},
		{"a proxy", "10.0.0.1:5000", []string{"192.0.2.1"}, "192.0.2.1"},
		{"a proxy without a header", "10.0.0.1:5000", nil, "10.0.0.1"},
		{"two proxies", "10.0.0.1:5000", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"two headers", "10.0.0.1:5000", []string{"192.0.2.1", "10.0.0.2"}, "192.0.2.1"},
		{"the client forged an entry", "10.0.0.1:5000", []string{"203.0.113.1, 192.0.2.1"}, "192.0.2.1"},
		{"the client named a proxy", "10.0.0.1:5000", []string{"203.0.113.1, 10.0.0.9, 192.0.2.1"}, "192.0.2.1"},
		{"nonsense on the right", "10.0.0.1:5000", []string{"192.0.2.1, unknown"}, "10.0.0.1"},
		{"empty entry", "10.0.0.1:5000", []string{"192.0.2.1,"}, "10.0.0.1"},
		{"nonsense behind the client", "10.0.0.1:5000", []string{"nonsense, 192.0.2.1"}, "192.0.2.1"},
		{"all proxies", "10.0.0.1:5000", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"ports", "10.0.0.1:5000", []string{"192.0.2.1:4711"}, "192.0.2.1"},
		{"IPv6", "[fd00::1]:5000", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 with brackets and port", "[fd00::1]:5000", []string{"[2001:db8::1]:80"}, "2001:db8::1"},
		{"IPv6 with brackets", "[fd00::1]:5000", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:5000", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"zone", "[fd00::1%eth0]:5000", []string{"192.0.2.1"}, "192.0.2.1"},
		{"loopback proxy", "127.0.0.1:5000", []string{"192.0.2.1"}, "192.0.2.1"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forwarded}}
		if got := l.ClientAddr(r); got != netip.MustParseAddr(c.want) {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	if got := l.ClientAddr(&http.Request{RemoteAddr: "@"}); got.IsValid() {
		t.Errorf("a socket without an address: %s", got)
	}
	if ok, _ := l.Allow(LimitRegister, netip.Addr{}); !ok {
		t.Error("the first attempt without an address was refused")
	}
	if ok, _ := l.Allow(LimitRegister, netip.Addr{}); ok {
		t.Error("no address is no limit")
	}
	if _, err := ParseProxies([]string{"10.0.0.1"}); err == nil {
		t.Error("a single address was taken for a network")
	}
}

func TestTheDefaultRatesNameEveryKind(t *testing.T) {
	l := NewLimiter(LimiterConfig{})
	for _, kind := range []string{LimitRegister, LimitLogin, LimitHandshake, LimitSearch} {
		if r := l.config.Rates[kind]; r.Burst < 1 || r.Every <= 0 {
			t.Errorf("%s has the rate %+v", kind, r)
		}
	}
}
