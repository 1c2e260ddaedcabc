package auth

import (
	"container/list"
	"crypto/rand"
	"encoding/base64"
	"sync"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	// TicketLife is how long a ticket is good.
	TicketLife  = 30 * time.Second
	maxTickets  = 50_000
	ticketBytes = 24
)

type ticket [ticketBytes]byte

type issuedTicket struct {
	ticket ticket
	claims Claims
	until  time.Time
}

// tickets holds those that were given and not yet used. All live equally long, so the oldest ends first.
type tickets struct {
	mu      sync.Mutex
	byText  map[ticket]*list.Element // guarded by mu, as is age
	age     list.List                // of issuedTicket, oldest in front
	most    int
	metrics *metrics
}

func newTickets(most int, m *metrics) *tickets {
	return &tickets{byText: map[ticket]*list.Element{}, most: most, metrics: m}
}

func (t *tickets) issue(c Claims, now time.Time) (string, error) {
	var name ticket
	_, _ = rand.Read(name[:])
	t.mu.Lock()
	defer t.mu.Unlock()
	for oldest := t.age.Front(); oldest != nil && !now.Before(oldest.Value.(issuedTicket).until); oldest = t.age.Front() {
		t.drop(oldest)
	}
	if t.age.Len() >= t.most {
		t.metrics.ticketsRefused.Inc()
		err := chat.Errorf(chat.Unavailable, "too many tickets wait to be used")
		err.RetryAfter = time.Second
		return "", err
	}
	t.byText[name] = t.age.PushBack(issuedTicket{ticket: name, claims: c, until: now.Add(TicketLife)})
	return base64.RawURLEncoding.EncodeToString(name[:]), nil
}

// redeem takes the ticket away: of several who present it, one gets the claims.
func (t *tickets) redeem(text string, now time.Time) (Claims, bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(ticketBytes) {
		return Claims{}, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return Claims{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	found, ok := t.byText[ticket(raw)]
	if !ok {
		return Claims{}, false
	}
	issued := found.Value.(issuedTicket)
	t.drop(found)
	return issued.claims, now.Before(issued.until)
}

func (t *tickets) drop(e *list.Element) {
	delete(t.byText, e.Value.(issuedTicket).ticket)
	t.age.Remove(e)
}

func (t *tickets) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.age.Len()
}
