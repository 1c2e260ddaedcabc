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

// until is what was used since u.
func (u usage) until(pid int) usage {
	now := usageOf(pid)
	return usage{now.client - u.client, now.server - u.server}
}

// residentOf is the memory of a process that is in RAM, in bytes; 0 for a pid of 0 or one that is gone.
func residentOf(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, found := bytes.Cut(status, []byte("VmRSS:"))
	if fields := bytes.Fields(rest); found && len(fields) > 0 {
		kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
		if err == nil {
			return kib << 10
		}
	}
	return 0
}
