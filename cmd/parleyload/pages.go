package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
)

const (
	filling = 64 // sends at once while conversations are filled
	authors = 64 // members of the one conversation
)

// pagesConfig is what `parleyload pages` is asked for.
type pagesConfig struct {
	url           string
	conversations int
	messages      int
	size          int
	readers       int
	limit         int
	calm          time.Duration
	duration      time.Duration
}

func newPages() *cobra.Command {
	var c pagesConfig
	pages := &cobra.Command{
		Use:   "pages",
		Short: "Fill one conversation or many with messages and measure pages of their history over HTTP",
		Long: `Sends --messages over --conversations (one: a group of 64; more: direct conversations), then has --readers
ask for pages in a closed loop, at random: the newest, before and after a random message, around one. Every page
is checked: that many records, no number missing.

The server must run with --limits off.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.conversations < 1 || c.messages < max(c.conversations, authors) {
				return errors.New("pages: --conversations and --messages make no sense together")
			}
			if c.size < 1 || c.readers < 1 || c.limit < 1 || c.limit > 100 || c.duration < time.Second {
				return errors.New("pages: --size, --readers, --limit or --duration makes no sense")
			}
			return c.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := pages.Flags()
	f.StringVar(&c.url, "url", "http://127.0.0.1:8080", "address of the server")
	f.IntVar(&c.conversations, "conversations", 1, "conversations")
	f.IntVar(&c.messages, "messages", 100_000, "messages over all of them")
	f.IntVar(&c.size, "size", 300, "bytes of a text")
	f.IntVar(&c.readers, "readers", 4, "requests at once")
	f.IntVar(&c.limit, "limit", 50, "messages of a page")
	f.DurationVar(&c.calm, "calm", time.Second, "rest between filling and reading")
	f.DurationVar(&c.duration, "duration", 20*time.Second, "measured time")
	return pages
}

func (c *pagesConfig) run(ctx context.Context, out, errOut io.Writer) error {
	bars := newProgress(ctx, errOut)
	defer bars.close()
	w := newWorld(c.url, time.Minute, nil)
	talks, err := c.gather(ctx, w, bars)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := c.fill(ctx, w, talks, bars); err != nil {
		return err
	}
	filled := time.Since(began)
	if err := rest(ctx, c.calm); err != nil {
		return err
	}
	shelves, err := c.read(ctx, talks, bars)
	if err != nil {
		return err
	}
	bars.close()
	return c.print(out, filled, shelves)
}

// gather makes the conversations: one group, or a direct one for each pair of as few people as make that many.
func (c *pagesConfig) gather(ctx context.Context, w *world, bars *progress) ([]talk, error) {
	count := authors
	if c.conversations > 1 {
		for count = 2; count*(count-1)/2 < c.conversations; count++ {
		}
	}
	name := runName()
	bar := bars.bar("people", int64(count))
	people, err := w.register(ctx, count, func(i int) string { return fmt.Sprintf("p%s-%d", name, i) }, bar.Increment)
	if err != nil {
		return nil, err
	}
	if c.conversations == 1 {
		talks := []talk{{people: people}}
		return talks, w.group(ctx, &talks[0], "pages")
	}
	talks := make([]talk, 0, c.conversations)
	for i := range people {
		for j := range i {
			if len(talks) < c.conversations {
				talks = append(talks, talk{people: []*person{people[i], people[j]}})
			}
		}
	}
	bar = bars.bar("conversations", int64(len(talks)))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(filling)
	for i := range talks {
		group.Go(func() error {
			defer bar.Increment()
			return w.direct(ctx, &talks[i])
		})
	}
	return talks, group.Wait()
}

// fill sends the messages, each author's one after the other.
func (c *pagesConfig) fill(ctx context.Context, w *world, talks []talk, bars *progress) error {
	text := strings.Repeat("x", c.size)
	bar := bars.bar("messages", int64(c.messages))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(filling)
	share := func(whole, parts, i int) int { return whole*(i+1)/parts - whole*i/parts }
	for i, t := range talks {
		writers := t.people[:1]
		if len(talks) == 1 {
			writers = t.people
		}
		for j, p := range writers {
			count := share(share(c.messages, len(talks), i), len(writers), j)
			group.Go(func() error {
				for range count {
					id := chat.NewClientID(time.Now())
					err := w.again(ctx, func(ctx context.Context) error {
						_, err := p.api.Send(ctx, t.id, id, text, 0)
						return err
					})
					if err != nil {
						return fmt.Errorf("fill %s: %w", t.id, err)
					}
					bar.Increment()
				}
				return nil
			})
		}
	}
	return group.Wait()
}

// shelf is one way to ask for a page.
type shelf struct {
	name  string
	query func(head chat.Seq) client.PageQuery
	took  *latencies
}

// anyOf is one of 0 to n-1.
func anyOf(n int) int { return rand.N(n) } //nolint:gosec // nobody gains by guessing it

func (c *pagesConfig) shelves() []shelf {
	somewhere := func(head chat.Seq) chat.Position { return chat.Position(1 + anyOf(int(head))) }
	return []shelf{
		{"newest", func(chat.Seq) client.PageQuery { return client.PageQuery{Limit: c.limit} }, newLatencies()},
		{"before", func(head chat.Seq) client.PageQuery {
			return client.PageQuery{Limit: c.limit, Before: somewhere(head) + 1}
		}, newLatencies()},
		{"after", func(head chat.Seq) client.PageQuery {
			at := somewhere(head) - 1
			return client.PageQuery{Limit: c.limit, After: &at}
		}, newLatencies()},
		{"around", func(head chat.Seq) client.PageQuery {
			return client.PageQuery{Limit: c.limit, Around: somewhere(head)}
		}, newLatencies()},
	}
}

// read measures.
func (c *pagesConfig) read(ctx context.Context, talks []talk, bars *progress) ([]shelf, error) {
	shelves := c.shelves()
	bar := bars.bar("seconds", int64(c.duration/time.Second))
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for reader := range c.readers {
		group.Go(func() error {
			for n := reader; time.Since(began) < c.duration; n++ {
				bar.SetCurrent(int64(time.Since(began) / time.Second))
				if err := c.page(ctx, talks[anyOf(len(talks))], shelves[n%len(shelves)], reader); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	finish(bar)
	return shelves, err
}

func (c *pagesConfig) page(ctx context.Context, t talk, s shelf, reader int) error {
	head := chat.Seq(c.messages/c.conversations) + 1 // and the record of the conversation's beginning
	began := time.Now()
	page, err := t.people[anyOf(len(t.people))].api.Page(ctx, t.id, s.query(head))
	s.took.add(reader, time.Since(began))
	if err != nil {
		return fmt.Errorf("page %s of %s: %w", s.name, t.id, err)
	}
	return checkPage(page, c.limit)
}

// checkPage looks for a hole. What the page folds is not its own: these conversations have no edits.
func checkPage(page client.Page, limit int) error {
	records, err := page.Records()
	if err != nil {
		return err
	}
	if len(records) == 0 || len(records) > limit {
		return fmt.Errorf("a page has %d records, asked for %d", len(records), limit)
	}
	for i, r := range records {
		if r.Seq != page.FromSeq+chat.Seq(i) {
			return fmt.Errorf("a page from seq %d has seq %d in place %d", page.FromSeq, r.Seq, i)
		}
	}
	return nil
}

func (c *pagesConfig) print(out io.Writer, filled time.Duration, shelves []shelf) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "%d messages of %d bytes over %d conversations, sent in %.0f s (%.0f/s over HTTP)\n", // Flush tells
		c.messages, c.size, c.conversations, filled.Seconds(), float64(c.messages)/filled.Seconds())
	_, _ = fmt.Fprintf(t, "pages of %d, %d readers, closed loop\n\npage\tcount\tp50 ms\tp90\tp99\tp99.9\tmax\n", c.limit, c.readers)
	for _, s := range shelves {
		sum := summarize(s.took.merged())
		_, _ = fmt.Fprintf(t, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\n", s.name, sum.Count, sum.P50, sum.P90, sum.P99, sum.P999, sum.Max)
	}
	return t.Flush()
}
