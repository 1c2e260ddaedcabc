package main

import (
	"context"
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows what is under way; on something that is no terminal it stays silent.
type progress struct{ bars *mpb.Progress }

func newProgress(ctx context.Context, out io.Writer) *progress {
	return &progress{mpb.NewWithContext(ctx, mpb.WithOutput(out), mpb.WithWidth(48))}
}

// bar begins a bar of total steps; unit names what is counted.
func (p *progress) bar(name string, total int64) *mpb.Bar {
	return p.bars.AddBar(total,
		mpb.PrependDecorators(decor.Name(name, decor.WC{W: 14, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.CountersNoUnit("%d / %d"), decor.Name("  "), decor.Elapsed(decor.ET_STYLE_GO)),
	)
}

// live is a bar that tells how things stand beside.
func (p *progress) live(name string, total int64, now func() string) *mpb.Bar {
	return p.bars.AddBar(total,
		mpb.PrependDecorators(decor.Name(name, decor.WC{W: 14, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.CountersNoUnit("%d / %d"), decor.Name("  "), decor.Any(func(decor.Statistics) string { return now() })),
	)
}

// close ends bars that did not reach their end.
func (p *progress) close() { p.bars.Shutdown() }

// finish fills a bar, whatever it has counted.
func finish(b *mpb.Bar) { b.SetTotal(-1, true) }
