package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// usage is CPU time, user and system.
type usage struct{ client, server time.Duration }

const clockTick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on

// usageOf is the CPU time that this process and process pid have used; 0 for a pid of 0 or one that is gone.
func usageOf(pid int) usage {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return usage{}
	}
	u := usage{client: time.Duration(own.Utime.Nano() + own.Stime.Nano())}
	if pid == 0 {
		return u
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u
	}
	// The name may hold anything; fields are counted from its closing bracket on.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	for _, i := range []int{11, 12} { // utime, stime
		if i < len(fields) {
			ticks, err := strconv.ParseInt(string(fields[i]), 10, 64)
			if err == nil {
				u.server += time.Duration(ticks) * clockTick
			}
		}
	}
	return u
}
