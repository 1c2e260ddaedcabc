package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/checker"
	"github.com/parley-chat/parley/pkg/client"
	"github.com/parley-chat/parley/pkg/wire"
)

// finale is the end of a recorded run: heal, probe, rest, read everything.
type finale struct {
	world  *world
	scenes []*scene
	team   *crew
	bars   *progress
	cast   func(*device) // prepares a device that was away; nil: as it is
}

// finalDevice marks a device as at rest.
var finalDevice = checker.Event{Op: checker.OpFinalDevice}

func (f *finale) run(ctx context.Context) error {
	f.heal(ctx)
	if err := f.probe(ctx); err != nil {
		return err
	}
	heads, err := f.heads(ctx)
	if err != nil {
		return err
	}
	f.rest(ctx, f.team.devices, heads)
	if err := f.away(ctx, heads); err != nil {
		return err
	}
	for _, d := range f.team.devices {
		d.write(finalDevice)
	}
	return f.read(ctx)
}

// heal waits until every device is connected and has caught up, and every message is answered.
func (f *finale) heal(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.world.patience)
	defer cancel()
	bar := f.bars.bar("healing", int64(len(f.team.devices)))
	for _, d := range f.team.devices {
		_ = d.wait(ctx, func() bool { return d.caught })
		for len(d.live.Unsent()) > 0 && pause(ctx, 20*time.Millisecond) { // Answered comes as an event of its own
		}
		for _, m := range d.live.Unsent() {
			d.write(checker.Event{Op: checker.OpUnknown, Conversation: m.ConversationID, ClientID: m.ClientID})
		}
		bar.Increment()
	}
}

// probe sends one more message into every conversation: what a fault left behind comes out with it.
func (f *finale) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.world.patience)
	defer cancel()
	bar := f.bars.bar("probes", int64(len(f.scenes)))
	for _, s := range f.scenes {
		pending, err := s.all[0].send(client.Message{ConversationID: s.id, Kind: chat.KindMessage, Text: "probe"})
		if err != nil {
			return fmt.Errorf("probe: %w", err)
		}
		if _, err := pending.Wait(ctx); err != nil {
			return fmt.Errorf("probe of %s: %w", s.id, err)
		}
		bar.Increment()
	}
	return nil
}

// heads asks for the end of every conversation.
func (f *finale) heads(ctx context.Context) (map[chat.ConversationID]chat.Seq, error) {
	heads := map[chat.ConversationID]chat.Seq{}
	for _, s := range f.scenes {
		err := f.world.again(ctx, func(ctx context.Context) error {
			conversation, err := s.all[0].api.Conversation(ctx, s.id)
			heads[s.id] = conversation.Head.Seq
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("head of %s: %w", s.id, err)
		}
	}
	return heads, nil
}

// rest waits until every device shows every conversation to its head, or patience is over: the checker says who
// does not.
func (f *finale) rest(ctx context.Context, devices []*device, heads map[chat.ConversationID]chat.Seq) {
	ctx, cancel := context.WithTimeout(ctx, f.world.patience)
	defer cancel()
	where := map[chat.UserID][]chat.ConversationID{}
	for _, s := range f.scenes {
		for _, p := range s.people {
			where[p.user.ID] = append(where[p.user.ID], s.id)
		}
	}
	bar := f.bars.bar("at rest", int64(len(devices)))
	for _, d := range devices {
		_ = d.wait(ctx, func() bool {
			for _, id := range where[d.person.user.ID] {
				if d.shown[id] < heads[id] {
					return false
				}
			}
			return true
		})
		bar.Increment()
	}
}

// away syncs a device of everybody that has seen nothing yet.
func (f *finale) away(ctx context.Context, heads map[chat.ConversationID]chat.Seq) error {
	people := f.people()
	bar := f.bars.bar("were away", int64(len(people)))
	const together = 50
	for from := 0; from < len(people); from += together {
		part := people[from:min(from+together, len(people))]
		devices := make([]*device, len(part))
		group, loginCtx := errgroup.WithContext(ctx)
		group.SetLimit(registering)
		for i, p := range part {
			group.Go(func() error {
				api, err := f.world.login(loginCtx, p)
				if err != nil {
					return err
				}
				d, err := newDevice(f.world, p, "away", api)
				if err == nil && f.cast != nil {
					f.cast(d)
				}
				devices[i] = d
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		team := start(ctx, devices)
		f.rest(ctx, devices, heads)
		team.stop()
		if err := team.err(); err != nil {
			return err
		}
		for _, d := range devices {
			d.write(finalDevice)
			bar.Increment()
		}
	}
	return nil
}

// people is everybody, once each.
func (f *finale) people() []*person {
	var people []*person
	seen := map[*person]bool{}
	for _, s := range f.scenes {
		for _, p := range s.people {
			if !seen[p] {
				seen[p] = true
				people = append(people, p)
			}
		}
	}
	return people
}

// read reads every conversation by REST as every member, from its beginning, and the state of each at rest.
func (f *finale) read(ctx context.Context) error {
	total := 0
	for _, s := range f.scenes {
		total += len(s.people)
	}
	bar := f.bars.bar("pages", int64(total))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(registering)
	for _, s := range f.scenes {
		for _, p := range s.people {
			group.Go(func() error {
				defer bar.Increment()
				if err := f.pages(ctx, s, p, func(chat.Record) {}); err != nil {
					return fmt.Errorf("pages of %s: %w", s.id, err)
				}
				return f.state(ctx, s, p)
			})
		}
	}
	return group.Wait()
}

// pages reads one person's history from its beginning; see gets every record in order.
func (f *finale) pages(ctx context.Context, s *scene, p *person, see func(chat.Record)) error {
	for at := chat.Position(0); ; {
		var page client.Page
		err := f.world.again(ctx, func(ctx context.Context) (err error) {
			page, err = p.api.Page(ctx, s.id, client.PageQuery{Limit: wire.MaxPage, After: &at})
			return err
		})
		if err != nil {
			return err
		}
		records, err := page.Records()
		if err != nil {
			return err
		}
		if len(records) == 0 {
			return nil
		}
		e := checker.Event{Op: checker.OpFinalPage, Client: p.device("1"), Conversation: s.id, From: page.FromSeq, To: page.ToSeq, Seq: page.Head.Seq}
		for _, r := range records {
			see(r)
			e.Records = append(e.Records, checker.RecordOf(r))
		}
		f.world.history.Write(e)
		if !page.MoreAfter || chat.Position(page.ToSeq) <= at {
			return nil
		}
		at = chat.Position(page.ToSeq)
	}
}

func (f *finale) state(ctx context.Context, s *scene, p *person) error {
	var c wire.Conversation
	err := f.world.again(ctx, func(ctx context.Context) (err error) {
		c, err = p.api.Conversation(ctx, s.id)
		return err
	})
	if err != nil {
		return fmt.Errorf("state of %s: %w", s.id, err)
	}
	f.world.history.Write(checker.Event{
		Op: checker.OpFinalHead, Client: p.device("1"), Conversation: s.id,
		Seq: c.Head.Seq, N: c.Head.N, ID: c.Head.ID, Read: &c.Read, Unread: c.Unread,
	})
	return nil
}
