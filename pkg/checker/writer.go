package checker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// Writer writes a history. Safe for concurrent use; the events of one goroutine keep their order.
type Writer struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows
	file  io.WriteCloser
	out   *bufio.Writer
	count uint64
	err   error // the first failure: nothing is written after it
}

// Create makes the file of a history; it must not exist.
func Create(path string) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return NewWriter(file, time.Now), nil
}

// NewWriter writes a history to file, which Close syncs (when it can) and closes. now dates events without T.
func NewWriter(file io.WriteCloser, now func() time.Time) *Writer {
	return &Writer{now: now, file: file, out: bufio.NewWriterSize(file, 1<<20)}
}

// Write adds an event; T is now unless it is set. A failure is told by Close.
func (w *Writer) Write(e Event) {
	if w == nil {
		return
	}
	if e.T == 0 {
		e.T = w.now().UnixNano()
	}
	line, err := json.Marshal(&e)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	if err != nil {
		w.err = err
		return
	}
	w.count++
	if _, err := w.out.Write(append(line, '\n')); err != nil {
		w.err = err
	}
}

// Close writes out what is buffered, syncs and closes, and tells the first failure. Call it once.
func (w *Writer) Close() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	err := errors.Join(w.err, w.out.Flush())
	if s, ok := w.file.(interface{ Sync() error }); ok {
		err = errors.Join(err, s.Sync())
	}
	if err = errors.Join(err, w.file.Close()); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}
