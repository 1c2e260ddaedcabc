package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is an ext4 image on a loop mount whose power can be cut: what was not synced is gone.
type disk struct {
	t            testing.TB
	image, mount string
}

func newDisk(t testing.TB, size string) *disk {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, for a loop mount")
	for _, tool := range []string{"mkfs.ext4", "mount", "umount", "truncate"} {
		_, err := exec.LookPath(tool)
		need(t, err == nil, tool)
	}
	dir := t.TempDir()
	d := &disk{t: t, image: filepath.Join(dir, "disk.img"), mount: filepath.Join(dir, "disk")}
	if err := os.Mkdir(d.mount, 0o700); err != nil {
		t.Fatal(err)
	}
	d.must("truncate", "-s", size, d.image)
	d.must("mkfs.ext4", "-q", "-F", d.image)
	out, err := exec.Command("mount", "-o", "loop", d.image, d.mount).CombinedOutput()
	need(t, err == nil, fmt.Sprintf("a loop mount (%s)", out))
	t.Cleanup(func() { _ = exec.Command("umount", "-l", d.mount).Run() })
	return d
}

func (d *disk) must(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// ext4 shutdown without flushing its journal: from here on every write fails, and after the next mount
// only what was synced is there. _IOR('X', 125, __u32), flag 2 = EXT4_GOING_FLAGS_NOLOGFLUSH.
const ext4Shutdown = 0x8004587D

func (d *disk) cut() {
	d.t.Helper()
	f, err := os.Open(d.mount)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, 2); err != nil {
		if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EPERM) {
			need(d.t, false, "the ext4 shutdown ioctl")
		}
		d.t.Fatal(err)
	}
}

// back brings the power back: unmount, mount, journal replay.
func (d *disk) back() {
	d.t.Helper()
	d.must("umount", d.mount)
	d.must("mount", "-o", "loop", d.image, d.mount)
}
