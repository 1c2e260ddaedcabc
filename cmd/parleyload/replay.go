package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
)

// replayConfig is what `parleyload replay` is asked for.
type replayConfig struct {
	url      string
	speed    float64
	verify   bool
	patience time.Duration
	history  string
}

func newReplay() *cobra.Command {
	var c replayConfig
	replay := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Replay transcripts: each nick a user, each file a group, each line sent by its nick's own connection",
		Long: `Reads transcripts of lines "[hh:mm] <nick> text". Every nick becomes a user (the nick is the display name) with a
WebSocket connection of its own; every file becomes a group of those who speak in it. The lines of a file are sent
strictly in its order, several files at once. The server may be killed meanwhile. With --verify the live stream of
every member, the sync of a device of every member that was away, and every member's history by REST are compared
with the file, byte for byte. Lines that are no such text are left out and counted.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.speed < 0 {
				return errors.New("replay: --speed is 0 or more")
			}
			return c.run(cmd.Context(), args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := replay.Flags()
	f.StringVar(&c.url, "url", "http://127.0.0.1:8080", "address of the server")
	f.Float64Var(&c.speed, "speed", 0, "times as fast as it was written; 0: as fast as the order allows")
	f.BoolVar(&c.verify, "verify", false, "compare every path of every member with the file")
	f.DurationVar(&c.patience, "patience", 60*time.Second, "how long the server may be away")
	f.StringVar(&c.history, "history", "", "file for what every client saw")
	return replay
}

// stage is one file on its way through the server.
type stage struct {
	script *transcript
	scene  *scene
	cast   map[string]*device     // by nick
	users  map[chat.UserID]string // nick of each user
	live   map[*device]*expectation
	took   time.Duration
}

func (c *replayConfig) run(ctx context.Context, paths []string, out, errOut io.Writer) (err error) {
	scripts := make([]*transcript, len(paths))
	for i, path := range paths {
		if scripts[i], err = readTranscript(path); err != nil {
			return err
		}
	}
	history, err := openHistory(c.history)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, history.Close()) }()
	bars := newProgress(ctx, errOut)
	defer bars.close()
	w := newWorld(c.url, c.patience, history)
	people, err := c.people(ctx, w, scripts, bars)
	if err != nil {
		return err
	}
	stages, devices, err := c.stages(ctx, w, scripts, people)
	if err != nil {
		return err
	}
	team := start(ctx, devices)
	defer team.stop()
	if err := c.perform(ctx, w, stages, bars); err != nil {
		return errors.Join(err, team.err())
	}
	if err := c.close(ctx, w, stages, team, bars); err != nil {
		return err
	}
	bars.close()
	return tellReplay(out, stages, c.verify)
}

// people registers every nick of all files once: who speaks in several files is one person.
func (c *replayConfig) people(ctx context.Context, w *world, scripts []*transcript, bars *progress) (map[string]*person, error) {
	var nicks []string
	known := map[string]bool{}
	for _, t := range scripts {
		for _, nick := range t.nicks {
			if !known[nick] {
				known[nick] = true
				nicks = append(nicks, nick)
			}
		}
	}
	bar := bars.bar("people", int64(len(nicks)))
	run := runName()
	made, err := w.register(ctx, len(nicks), func(i int) string { return username(run, i, nicks[i]) }, bar.Increment)
	if err != nil {
		return nil, err
	}
	people := map[string]*person{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(registering)
	for i, nick := range nicks {
		people[nick] = made[i]
		group.Go(func() error {
			return w.again(ctx, func(ctx context.Context) error {
				_, err := made[i].api.SetDisplayName(ctx, displayName(nick))
				return err
			})
		})
	}
	return people, group.Wait()
}

// stages makes the groups and one device per person; a person's device hears all of their groups.
func (c *replayConfig) stages(ctx context.Context, w *world, scripts []*transcript, people map[string]*person) ([]*stage, []*device, error) {
	devices := map[string]*device{}
	var all []*device
	stages := make([]*stage, len(scripts))
	for i, t := range scripts {
		s := &stage{
			script: t, scene: &scene{}, cast: map[string]*device{}, users: map[chat.UserID]string{}, live: map[*device]*expectation{},
		}
		stages[i] = s
		for _, nick := range t.nicks {
			p := people[nick]
			if devices[nick] == nil {
				d, err := newDevice(w, p, "1", p.api)
				if err != nil {
					return nil, nil, err
				}
				devices[nick] = d
				all = append(all, d)
			}
			s.cast[nick] = devices[nick]
			s.users[p.user.ID] = nick
			s.scene.people = append(s.scene.people, p)
			s.scene.all = append(s.scene.all, devices[nick])
		}
		if err := w.group(ctx, &s.scene.talk, displayName(t.name)); err != nil {
			return nil, nil, fmt.Errorf("group of %s, %d members: %w", t.name, len(t.nicks), err)
		}
	}
	c.listen(stages, all)
	return stages, all, nil
}

// listen compares every live stream with its transcript while it comes.
func (c *replayConfig) listen(stages []*stage, devices []*device) {
	by := map[chat.ConversationID]*stage{}
	for _, s := range stages {
		by[s.scene.id] = s
		for _, d := range s.scene.all {
			s.live[d] = &expectation{who: "live stream of " + s.users[d.person.user.ID], lines: s.script.lines, users: s.users}
		}
	}
	for _, d := range devices {
		d.onRecord = func(r chat.Record, _ client.Source) {
			if s := by[r.ConversationID]; s != nil {
				s.live[d].see(r)
			}
		}
	}
}

// perform sends every line, each file in its order.
func (c *replayConfig) perform(ctx context.Context, w *world, stages []*stage, bars *progress) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range stages {
		bar := bars.bar(s.script.name, int64(len(s.script.lines)))
		group.Go(func() error {
			began := time.Now()
			defer func() { s.took = time.Since(began) }()
			for i, l := range s.script.lines {
				if c.speed > 0 && !pause(ctx, time.Until(began.Add(time.Duration(float64(l.at)/c.speed)))) {
					return ctx.Err()
				}
				if err := speak(ctx, w, s, l); err != nil {
					return fmt.Errorf("%s, line %d of those sent: %w", s.script.name, i+1, err)
				}
				bar.Increment()
			}
			return nil
		})
	}
	return group.Wait()
}

// speak sends one line and waits for its answer, for as long as patience allows.
func speak(ctx context.Context, w *world, s *stage, l line) error {
	pending, err := s.cast[l.nick].send(client.Message{ConversationID: s.scene.id, Kind: chat.KindMessage, Text: l.text})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	_, err = pending.Wait(ctx)
	return err
}

// close waits for rest and, when asked, compares every path.
func (c *replayConfig) close(ctx context.Context, w *world, stages []*stage, team *crew, bars *progress) error {
	end := &finale{world: w, team: team, bars: bars}
	for _, s := range stages {
		end.scenes = append(end.scenes, s.scene)
	}
	heads, err := end.heads(ctx)
	if err != nil {
		return err
	}
	end.rest(ctx, team.devices, heads)
	team.stop() // nothing writes to the expectations any more
	if err := team.err(); err != nil {
		return err
	}
	for _, d := range team.devices {
		d.write(finalDevice)
	}
	var wrong []error
	for _, s := range stages {
		for _, d := range s.scene.all {
			wrong = append(wrong, s.live[d].done())
		}
	}
	if !c.verify {
		return errors.Join(wrong...)
	}
	wrong = append(wrong, verifyAway(ctx, w, stages, heads, bars), verifyPages(ctx, end, stages, bars))
	return errors.Join(wrong...)
}

// verifyAway syncs a device of every member that has seen nothing.
func verifyAway(ctx context.Context, w *world, stages []*stage, heads map[chat.ConversationID]chat.Seq, bars *progress) error {
	end := &finale{world: w, bars: bars}
	by := map[chat.ConversationID]*stage{}
	for _, s := range stages {
		by[s.scene.id] = s
		end.scenes = append(end.scenes, s.scene)
	}
	var mu sync.Mutex
	var all []*expectation
	end.cast = func(d *device) {
		expected := map[chat.ConversationID]*expectation{}
		for id, s := range by {
			nick, member := s.users[d.person.user.ID]
			if !member {
				continue
			}
			expected[id] = &expectation{who: "sync of " + nick, lines: s.script.lines, users: s.users}
			mu.Lock()
			all = append(all, expected[id])
			mu.Unlock()
		}
		d.onRecord = func(r chat.Record, _ client.Source) {
			if e := expected[r.ConversationID]; e != nil {
				e.see(r)
			}
		}
	}
	if err := end.away(ctx, heads); err != nil {
		return err
	}
	wrong := make([]error, 0, len(all))
	for _, e := range all {
		wrong = append(wrong, e.done())
	}
	return errors.Join(wrong...)
}

// verifyPages reads every member's history by REST.
func verifyPages(ctx context.Context, end *finale, stages []*stage, bars *progress) error {
	total := 0
	for _, s := range stages {
		total += len(s.scene.people)
	}
	bar := bars.bar("histories", int64(total))
	var mu sync.Mutex
	var wrong []error
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(registering)
	for _, s := range stages {
		for _, p := range s.scene.people {
			group.Go(func() error {
				defer bar.Increment()
				e := &expectation{who: "history of " + s.users[p.user.ID], lines: s.script.lines, users: s.users}
				if err := end.pages(ctx, s.scene, p, e.see); err != nil {
					return fmt.Errorf("%s: %w", e.who, err)
				}
				mu.Lock()
				wrong = append(wrong, e.done())
				mu.Unlock()
				return end.state(ctx, s.scene, p)
			})
		}
	}
	err := group.Wait()
	return errors.Join(append(wrong, err)...)
}

func tellReplay(out io.Writer, stages []*stage, verified bool) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "file\tlines\tpeople\tleft out\tnot text\tseconds") // Flush tells
	for _, s := range stages {
		_, _ = fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%.1f\n", s.script.name, len(s.script.lines), len(s.script.nicks), s.script.left, s.script.bad, s.took.Seconds())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	what := "every member's live stream equals the transcript, byte for byte, in order"
	if verified {
		what = "every member's live stream, the sync of a device that was away, and history equal the transcript, byte for byte, in order"
	}
	_, err := fmt.Fprintln(out, what)
	return err
}
