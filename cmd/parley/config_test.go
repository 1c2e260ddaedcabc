package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func flagsOf(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	addFlags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFlagsBeatEnvironmentBeatsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parley.yaml")
	text := "data: from-file\nlisten: 127.0.0.1:1\nlog-keep: 100h\ntrusted-proxies: [10.0.0.0/8]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PARLEY_LISTEN", "127.0.0.1:2")
	t.Setenv("PARLEY_ADMIN_LISTEN", "127.0.0.1:3")
	t.Setenv("PARLEY_ORIGINS", "https://a.example,https://b.example")
	c, err := loadConfig(flagsOf(t, "--config", path, "--admin-listen", "127.0.0.1:4"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != "from-file" || c.Listen != "127.0.0.1:2" || c.AdminListen != "127.0.0.1:4" {
		t.Errorf("data %q listen %q admin %q", c.Data, c.Listen, c.AdminListen)
	}
	if c.LogKeep != 100*time.Hour || len(c.TrustedProxies) != 1 || len(c.Origins) != 2 {
		t.Errorf("keep %s proxies %v origins %v", c.LogKeep, c.TrustedProxies, c.Origins)
	}
	if c.Limits != "on" || c.Partitions != 1 {
		t.Errorf("defaults lost: %+v", c)
	}
}

func TestEveryWrongSettingIsNamed(t *testing.T) {
	for args, wanted := range map[string]string{
		"--sync=never":                  `sync "never"`,
		"--partitions=0":                "partitions 0",
		"--limits=some":                 `limits "some"`,
		"--access-life=1h":              "access-life 1h",
		"--trusted-proxies=here":        `"here" is not a network`,
		"--log-keep=0s":                 "log-keep 0s",
		"--data=":                       "data: a folder",
		"--config=/does/not/exist.yaml": "config file /does/not/exist.yaml",
	} {
		_, err := loadConfig(flagsOf(t, args))
		if err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("%s: %v, want %q", args, err, wanted)
		}
	}
	if _, err := loadConfig(flagsOf(t, "--sync=barrier", "--nats-listen=127.0.0.1:4222")); err == nil {
		t.Error("barrier with a NATS port: services would see what is not durable")
	}
}

func TestBarrierIsForLinuxWithoutPort(t *testing.T) {
	c := defaults()
	if !c.durableByBarrier(true) || c.durableByBarrier(false) {
		t.Error("auto: barrier on Linux, always elsewhere")
	}
	c.NATSListen = "127.0.0.1:4222"
	if c.durableByBarrier(true) {
		t.Error("a NATS port means always")
	}
}

func TestOneProcessPerDataFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := openDataFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDataFolder(dir); err == nil || !strings.Contains(err.Error(), "in use by another parley process") {
		t.Errorf("second open: %v", err)
	}
	first.close()
	again, err := openDataFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.close()
}

func TestDataFolderThatCanNotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataFolder(filepath.Join(file, "data")); err == nil || !strings.Contains(err.Error(), "can not be made") {
		t.Errorf("folder inside a file: %v", err)
	}
}
