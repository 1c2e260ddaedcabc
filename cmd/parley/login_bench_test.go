package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/client/socket"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	loginPeople = 64
	loginsAtOn  = 64 // in flight
)

// BenchmarkLogin is the budget's login by token: connect, upgrade, auth, sync; a user in no conversation. The
// client runs in the same two cores.
func BenchmarkLogin(b *testing.B) {
	p := serve(b)
	var tokens []string
	for i := range loginPeople {
		token, _, err := register(b, p, fmt.Sprint("person", i)).Token(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	work := make(chan string)
	failed := make(chan error, loginsAtOn)
	done := make(chan struct{})
	for range loginsAtOn {
		go func() {
			defer func() { done <- struct{}{} }()
			for token := range work {
				if err := loginOnce(b, p, token); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	before := cpuOf(p)
	b.ResetTimer()
	for i := range b.N {
		select {
		case work <- tokens[i%len(tokens)]:
		case err := <-failed:
			b.Fatal(err)
		}
	}
	close(work)
	for range loginsAtOn {
		<-done
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
	b.ReportMetric((cpuOf(p)-before)*1e6/float64(b.N), "server-CPU-us/login")
}

// cpuOf is the CPU seconds that a server has used; 0 where /proc does not tell.
func cpuOf(p *process) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	_, after, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	if err != nil || !ok || len(fields) < 13 {
		return 0
	}
	var ticks float64
	for _, field := range fields[11:13] { // user and system, in hundredths
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return ticks / 100
}

func loginOnce(b *testing.B, p *process, token string) error {
	conn, err := socket.Dial(b.Context(), socket.Config{URL: p.api, Token: token})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Abort() }()
	frame, err := wire.EncodeFrame(2, wire.TypeSync, wire.Sync{})
	if err != nil {
		return err
	}
	if err := conn.Write(frame); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < soon; {
		raw, err := conn.Read()
		if err != nil {
			return err
		}
		f, err := socket.Decode(raw)
		if err != nil {
			return err
		}
		if f.Type == wire.TypeCaughtUp {
			return conn.Abort()
		}
	}
	return fmt.Errorf("not caught up within %s", soon)
}
