package main

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	plotWidth  = 18 * vg.Centimeter
	plotHeight = 20 * vg.Centimeter
)

// writePlot draws latency by percentile above and throughput per second below.
func writePlot(path string, r *Result) error {
	latency, err := latencyPlot(r)
	if err != nil {
		return fmt.Errorf("plot %s: %w", path, err)
	}
	rate, err := ratePlot(r)
	if err != nil {
		return fmt.Errorf("plot %s: %w", path, err)
	}
	canvas := vgsvg.New(plotWidth, plotHeight)
	whole := draw.New(canvas)
	latency.Draw(draw.Crop(whole, 0, 0, plotHeight/2, 0))
	rate.Draw(draw.Crop(whole, 0, 0, 0, -plotHeight/2))
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	if _, err := canvas.WriteTo(file); err != nil {
		_ = file.Close()
		return fmt.Errorf("plot %s: %w", path, err)
	}
	return file.Close()
}

func latencyPlot(r *Result) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s, %s loop, %d B", r.Shape, r.Loop, r.Size)
	p.X.Label.Text, p.Y.Label.Text = "percentile", "ms"
	p.X.Tick.Marker = plot.ConstantTicks([]plot.Tick{
		{Value: 0, Label: "0"}, {Value: 1, Label: "90"}, {Value: 2, Label: "99"}, {Value: 3, Label: "99.9"}, {Value: 4, Label: "99.99"},
	})
	p.Y.Min = 0
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	return p, addLines(p, []string{"send to ack", "send to receive"}, [][]Point{r.Ack.Curve, r.Receive.Curve}, func(at Point) (float64, float64) {
		return -math.Log10(1 - at.Percentile/100), at.Millis
	})
}

func ratePlot(r *Result) (*plot.Plot, error) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "s", "per second"
	p.Y.Min = 0
	p.Legend.Left = true // below: the curves are high
	p.Add(plotter.NewGrid())
	series := func(counts []int64) []Point {
		points := make([]Point, len(counts))
		for i, n := range counts {
			points[i] = Point{float64(i), float64(n)}
		}
		return points
	}
	p.Y.Tick.Marker = plainTicks{}
	return p, addLines(p, []string{"acknowledged", "delivered"}, [][]Point{series(r.AckedSeries), series(r.Received)}, func(at Point) (float64, float64) {
		return at.Percentile, at.Millis
	})
}

func addLines(p *plot.Plot, names []string, curves [][]Point, place func(Point) (x, y float64)) error {
	colors := []color.Color{color.RGBA{R: 0x1f, G: 0x6f, B: 0xb4, A: 0xff}, color.RGBA{R: 0xd9, G: 0x5f, B: 0x0e, A: 0xff}}
	for i, curve := range curves {
		if len(curve) == 0 {
			continue
		}
		points := make(plotter.XYs, len(curve))
		for j, at := range curve {
			points[j].X, points[j].Y = place(at)
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = colors[i], vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(names[i], line)
	}
	return nil
}

// plainTicks labels large numbers in full: 15000, not 1.5e+04.
type plainTicks struct{}

// Ticks are the default ones with other labels.
func (plainTicks) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = strconv.FormatFloat(ticks[i].Value, 'f', -1, 64)
		}
	}
	return ticks
}
