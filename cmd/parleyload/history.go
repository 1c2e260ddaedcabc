package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/checker"
	"github.com/parley-chat/parley/pkg/client"
)

// scene is one conversation of a recorded run.
type scene struct {
	talk
	senders []*device
	all     []*device
	guest   *device // of groups: removed and added again all the time; nil in direct conversations
}

// record is a run that writes down what every client saw, while the server may be killed at any time.
func (c *runConfig) record(ctx context.Context, out, errOut io.Writer) (err error) {
	history, err := openHistory(c.history)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, history.Close()) }()
	bars := newProgress(ctx, errOut)
	defer bars.close()
	w := newWorld(c.url, c.patience, history)
	talks, err := c.gather(ctx, w, bars)
	if err != nil {
		return err
	}
	scenes, devices, err := c.cast(ctx, w, talks, bars)
	if err != nil {
		return err
	}
	late, err := c.lag(ctx, w, talks)
	defer late.end()
	if err != nil {
		return err
	}
	team := start(ctx, devices)
	defer team.stop()
	if err := c.act(ctx, w, scenes, bars); err != nil {
		return err
	}
	rest := &finale{world: w, scenes: scenes, team: team, bars: bars}
	if err := rest.run(ctx); err != nil {
		return err
	}
	if err := team.err(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "history of %d devices in %s: judge it with parleyload check %s\n", len(devices), c.history, c.history)
	return err
}

// cast gives everybody their devices.
func (c *runConfig) cast(ctx context.Context, w *world, talks []talk, bars *progress) ([]*scene, []*device, error) {
	scenes := make([]*scene, len(talks))
	count := 0
	for _, t := range talks {
		count += len(t.people) * c.devices
	}
	bar := bars.bar("devices", int64(count))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(registering)
	for i, t := range talks {
		s := &scene{talk: t, all: make([]*device, len(t.people)*c.devices)}
		scenes[i] = s
		for j := range s.all {
			group.Go(func() (err error) {
				p, n := t.people[j/c.devices], j%c.devices
				api := p.api
				if n > 0 {
					if api, err = w.login(ctx, p); err != nil {
						return err
					}
				}
				bar.Increment()
				if s.all[j], err = newDevice(w, p, fmt.Sprint(n+1), api); err != nil {
					return err
				}
				return s.all[j].live.SubscribePresence(t.id)
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	var devices []*device
	for _, s := range scenes {
		s.senders = []*device{s.all[0], s.all[c.devices]}
		if s.id.Type() == chat.Group && len(s.people) > 2 {
			s.guest = s.all[len(s.all)-1]
		}
		devices = append(devices, s.all...)
	}
	return scenes, devices, nil
}

// act lets everybody do what people do, for the run's time.
func (c *runConfig) act(ctx context.Context, w *world, scenes []*scene, bars *progress) error {
	total := c.warmup + c.duration
	acting, cancel := context.WithTimeout(ctx, total)
	defer cancel()
	senders := 0
	for _, s := range scenes {
		senders += len(s.senders)
	}
	var every time.Duration // between the messages of one sender
	if c.rate > 0 {
		every = time.Duration(senders) * time.Second / time.Duration(c.rate)
	}
	var work sync.WaitGroup
	for i, s := range scenes {
		for j, d := range s.senders {
			a := &actor{world: w, scene: s, device: d, size: c.size, every: every, random: rand.New(rand.NewPCG(uint64(i), uint64(j)))} //nolint:gosec // a script, nothing secret
			work.Go(func() { a.run(acting) })
		}
		work.Go(func() { s.read(acting, c.receipts) })
		if s.guest != nil {
			work.Go(func() { s.churn(acting, w) })
		}
	}
	work.Go(func() { contest(acting, w) })
	bar := bars.bar("seconds", int64(total/time.Second))
	work.Go(func() {
		for tick := time.NewTicker(time.Second); ; bar.Increment() {
			select {
			case <-acting.Done():
				tick.Stop()
				finish(bar)
				return
			case <-tick.C:
			}
		}
	})
	work.Wait()
	return ctx.Err()
}

// actor is one sender: mostly messages, now and then an edit, a delete, a reply, a repeat.
type actor struct {
	world  *world
	scene  *scene
	device *device
	size   int
	every  time.Duration // 0: closed loop
	random *rand.Rand
	count  int
}

func (a *actor) run(ctx context.Context) {
	next := time.Now().Add(time.Duration(a.random.Int64N(int64(a.every) + 1)))
	for ctx.Err() == nil {
		if a.every > 0 {
			if !pause(ctx, time.Until(next)) {
				return
			}
			next = next.Add(a.every)
		}
		pending, err := a.step(ctx)
		switch {
		case err != nil: // the outbox is full: the server is away
			pause(ctx, 100*time.Millisecond)
		case pending != nil && a.every == 0:
			_, _ = pending.Wait(ctx) // Answered tells the history
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (a *actor) step(ctx context.Context) (*client.Pending, error) {
	a.count++
	m := client.Message{ConversationID: a.scene.id, Kind: chat.KindMessage, Text: a.text()}
	switch dice := a.random.IntN(1000); {
	case dice < 40:
		if o, ok := a.device.take(a.random.IntN, true); ok {
			m.Kind, m.TargetSeq = chat.KindEdit, o.seq
		}
	case dice < 60:
		if o, ok := a.device.take(a.random.IntN, false); ok {
			m.Kind, m.TargetSeq, m.Text = chat.KindDelete, o.seq, ""
		}
	case dice < 120:
		if o, ok := a.device.take(a.random.IntN, true); ok {
			m.ReplyTo = o.seq
		}
	case dice < 130:
		a.repeat(ctx)
		return nil, nil
	case dice < 140:
		a.page(ctx)
		return nil, nil
	}
	return a.device.send(m)
}

func (a *actor) text() string {
	head := fmt.Sprintf("%s %d ", a.device.name, a.count)
	if a.count%50 == 0 {
		return head + "naïve 👩‍👩‍👧 שלום \\\" </script> \u0000\u2028" + strings.Repeat("é", max(0, a.size-len(head)))
	}
	return head + strings.Repeat("x", max(0, a.size-len(head)))
}

// repeat sends an old message again, by REST, and then another body under its client id.
func (a *actor) repeat(ctx context.Context) {
	o, ok := a.device.take(a.random.IntN, true)
	if !ok {
		return
	}
	r, err := a.device.api.Send(ctx, a.scene.id, o.message.ClientID, o.message.Text, o.message.ReplyTo)
	if err == nil {
		a.device.write(checker.Event{
			Op: checker.OpSent, Conversation: a.scene.id, ClientID: o.message.ClientID, ID: r.ID, Seq: r.Seq, N: r.N,
		})
	}
	_, err = a.device.api.Send(ctx, a.scene.id, o.message.ClientID, o.message.Text+" otherwise", o.message.ReplyTo)
	if ctx.Err() == nil {
		a.device.write(checker.Event{Op: checker.OpConflictProbe, Conversation: a.scene.id, ClientID: o.message.ClientID, Code: codeOf(err)})
	}
}

// page reads the newest history while it changes, and the versions of one message.
func (a *actor) page(ctx context.Context) {
	_ = readPage(ctx, a.device, a.scene.id)
	o, ok := a.device.take(a.random.IntN, true)
	if !ok {
		return
	}
	t0 := time.Now()
	versions, err := a.device.api.Versions(ctx, a.scene.id, o.seq)
	if err != nil || ctx.Err() != nil {
		return
	}
	e := checker.Event{Op: checker.OpVersions, T0: t0.UnixNano(), Conversation: a.scene.id, Target: o.seq}
	for _, r := range versions {
		e.Records = append(e.Records, checker.RecordOf(r))
	}
	a.device.write(e)
}

func readPage(ctx context.Context, d *device, id chat.ConversationID) error {
	t0 := time.Now()
	page, err := d.api.Page(ctx, id, client.PageQuery{Limit: 50})
	if err != nil {
		return err
	}
	records, err := page.Records()
	if err != nil {
		return err
	}
	e := checker.Event{Op: checker.OpPage, T0: t0.UnixNano(), Conversation: id, From: page.FromSeq, To: page.ToSeq}
	for _, r := range records {
		e.Records = append(e.Records, checker.RecordOf(r))
	}
	d.write(e)
	return nil
}

// read moves the read cursors of everybody now and then; with receipts, often.
func (s *scene) read(ctx context.Context, often bool) {
	every := 2 * time.Second
	if often {
		every = 200 * time.Millisecond
	}
	for pause(ctx, every) {
		for i, d := range s.all {
			if i%2 == 0 || often {
				if seq := d.live.Shown(s.id); seq > 0 {
					d.live.Read(s.id, seq)
				}
			}
		}
	}
}

// churn removes the guest and brings them back, and tries what a removed member must not be able to do.
func (s *scene) churn(ctx context.Context, w *world) {
	owner, guest := s.all[0], s.guest.person.user.ID
	change := func(op checker.Op, f func(ctx context.Context) error) {
		t0 := time.Now()
		err := f(ctx)
		owner.write(checker.Event{Op: op, T0: t0.UnixNano(), Conversation: s.id, Users: []chat.UserID{guest}, Code: codeOf(err)})
	}
	for pause(ctx, 3*time.Second) {
		change(checker.OpMemberRemove, func(ctx context.Context) error { return owner.api.RemoveMember(ctx, s.id, guest) })
		for range 5 {
			_ = readPage(ctx, s.guest, s.id) // a refusal is what is right; what it reads is in the history
			pause(ctx, 300*time.Millisecond)
		}
		change(checker.OpMemberAdd, func(ctx context.Context) error { return owner.api.AddMembers(ctx, s.id, guest) })
	}
	s.restore(ctx, w, change)
}

// restore ends with the guest as a member, so that the end of the run is the same for everybody.
func (s *scene) restore(ctx context.Context, w *world, change func(checker.Op, func(context.Context) error)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.patience)
	defer cancel()
	change(checker.OpMemberAdd, func(context.Context) error {
		return w.again(ctx, func(ctx context.Context) error {
			return s.all[0].api.AddMembers(ctx, s.id, s.guest.person.user.ID)
		})
	})
}

// contest lets several ask for one username at once: one may get it.
func contest(ctx context.Context, w *world) {
	const rivals = 4
	for round := 0; pause(ctx, 5*time.Second); round++ {
		name := fmt.Sprintf("c%s-%d", runName(), round)
		var race sync.WaitGroup
		for i := range rivals {
			race.Go(func() {
				api := w.api()
				account, err := api.Register(ctx, name, fmt.Sprintf("%s-%d@load.example", name, i), password)
				who := fmt.Sprintf("%s/rival-%d", account.User.ID, i)
				w.history.Write(checker.Event{Op: checker.OpRegister, Client: who, Username: name, Code: codeOf(err)})
			})
		}
		race.Wait()
	}
}
