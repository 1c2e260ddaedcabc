package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Config is everything an operator may set. Order of precedence: flags, environment (PARLEY_ and the
// name in capitals), file, defaults.
type Config struct {
	Data           string        `koanf:"data"`            // folder of everything that must survive
	Listen         string        `koanf:"listen"`          // clients: REST and WebSocket
	AdminListen    string        `koanf:"admin-listen"`    // health, metrics, profiles; "" turns it off
	NATSListen     string        `koanf:"nats-listen"`     // a NATS port for services; "" keeps NATS inside the process
	Sync           string        `koanf:"sync"`            // auto, barrier or always
	Partitions     int           `koanf:"partitions"`      // kept with the data after the first start
	LogMaxBytes    int64         `koanf:"log-max-bytes"`   // per partition; 0: a quarter of the free space, at most 64 GiB
	LogKeep        time.Duration `koanf:"log-keep"`        // shortest time a record stays in the log
	TrimEvery      time.Duration `koanf:"trim-every"`      // how often the log is trimmed
	Limits         string        `koanf:"limits"`          // on or off
	GroupMembers   int           `koanf:"group-members"`   // most members of a group
	Origins        []string      `koanf:"origins"`         // further origins whose pages may open a WebSocket
	TrustedProxies []string      `koanf:"trusted-proxies"` // CIDRs whose X-Forwarded-For counts
	AccessLife     time.Duration `koanf:"access-life"`     // of an access token
	RefreshLife    time.Duration `koanf:"refresh-life"`    // of a session that is not used
	Handshakes     int           `koanf:"handshakes"`      // most connections that have not authenticated yet
	Sockets        string        `koanf:"sockets"`         // auto, dense or plain
	DrainTime      time.Duration `koanf:"drain-time"`      // clients are asked to reconnect within it
	LogLevel       string        `koanf:"log-level"`
	LogFormat      string        `koanf:"log-format"`
}

func defaults() Config {
	return Config{
		Data: "parley-data", Listen: "127.0.0.1:8080", AdminListen: "127.0.0.1:8081",
		Sync: "auto", Partitions: 1, LogKeep: 72 * time.Hour, TrimEvery: time.Minute,
		Limits: "on", GroupMembers: 500,
		AccessLife: 10 * time.Minute, RefreshLife: 60 * 24 * time.Hour,
		Handshakes: 2000, Sockets: "auto", DrainTime: 5 * time.Second,
		LogLevel: "info", LogFormat: "text",
	}
}

func addFlags(f *pflag.FlagSet) {
	d := defaults()
	f.String("config", "", "YAML file with the same names as the flags")
	f.String("data", d.Data, "folder of everything that must survive")
	f.String("listen", d.Listen, "address for clients (REST and WebSocket)")
	f.String("admin-listen", d.AdminListen, "address for health, metrics and profiles, empty for none")
	f.String("nats-listen", d.NATSListen, "address of a NATS port for internal services, empty for none")
	f.String("sync", d.Sync, "how a commit is made durable: auto, barrier (one syncfs per group, Linux) or always (NATS syncs each message)")
	f.Int("partitions", d.Partitions, "partitions of a new installation; kept with the data afterwards")
	f.Int64("log-max-bytes", d.LogMaxBytes, "largest size of a partition's log, 0 for a quarter of the free space (at most 64 GiB)")
	f.Duration("log-keep", d.LogKeep, "shortest time that a record stays in the log")
	f.Duration("trim-every", d.TrimEvery, "how often the log is trimmed")
	f.String("limits", d.Limits, "rate limits: on or off (off is for load tests)")
	f.Int("group-members", d.GroupMembers, "most members of a group")
	f.StringSlice("origins", nil, "further web origins that may connect, such as https://chat.example.org")
	f.StringSlice("trusted-proxies", nil, "networks (CIDR) of proxies whose X-Forwarded-For counts")
	f.Duration("access-life", d.AccessLife, "life of an access token")
	f.Duration("refresh-life", d.RefreshLife, "life of a session that is not used")
	f.Int("handshakes", d.Handshakes, "most connections that have not authenticated yet")
	f.String("sockets", d.Sockets, "connections: dense (a shared poller, Linux), plain (goroutines of their own) or auto (dense where it works)")
	f.Duration("drain-time", d.DrainTime, "time over which clients are asked to reconnect when the server stops")
	f.String("log-level", d.LogLevel, "debug, info, warn or error")
	f.String("log-format", d.LogFormat, "text or json")
}

func loadConfig(flags *pflag.FlagSet) (Config, error) {
	k := koanf.New(".")
	if err := k.Load(structs.Provider(defaults(), "koanf"), nil); err != nil {
		return Config{}, fmt.Errorf("defaults: %w", err)
	}
	if path, _ := flags.GetString("config"); path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return Config{}, fmt.Errorf("config file %s: %w", path, err)
		}
	}
	environment := env.Provider(".", env.Opt{Prefix: "PARLEY_", TransformFunc: func(name, value string) (string, any) {
		name = strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "PARLEY_")), "_", "-")
		if name == "origins" || name == "trusted-proxies" {
			return name, strings.Split(value, ",")
		}
		return name, value
	}})
	if err := k.Load(environment, nil); err != nil {
		return Config{}, fmt.Errorf("environment: %w", err)
	}
	if err := k.Load(posflag.Provider(flags, ".", k), nil); err != nil {
		return Config{}, fmt.Errorf("flags: %w", err)
	}
	var c Config
	if err := k.Unmarshal("", &c); err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	return c, c.Validate()
}

// Validate names every setting that can not work.
func (c Config) Validate() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.Data == "" {
		wrong("data: a folder is needed")
	}
	if c.Sync != "auto" && c.Sync != "barrier" && c.Sync != "always" {
		wrong("sync %q: want auto, barrier or always", c.Sync)
	}
	if c.Sync == "barrier" && c.NATSListen != "" {
		wrong("sync barrier: services on a NATS port would see records before they are durable; use auto or always")
	}
	if c.Partitions < 1 || c.Partitions > 256 {
		wrong("partitions %d: want 1 to 256", c.Partitions)
	}
	if c.Limits != "on" && c.Limits != "off" {
		wrong("limits %q: want on or off", c.Limits)
	}
	if c.Sockets != "auto" && c.Sockets != "dense" && c.Sockets != "plain" {
		wrong("sockets %q: want auto, dense or plain", c.Sockets)
	}
	if c.GroupMembers < 2 || c.GroupMembers > 100_000 {
		wrong("group-members %d: want 2 to 100000", c.GroupMembers)
	}
	if c.Handshakes < 1 {
		wrong("handshakes %d: want at least 1", c.Handshakes)
	}
	for _, p := range []struct {
		name  string
		value time.Duration
	}{{"log-keep", c.LogKeep}, {"trim-every", c.TrimEvery}, {"access-life", c.AccessLife}, {"refresh-life", c.RefreshLife}} {
		if p.value <= 0 {
			wrong("%s %s: want a positive time", p.name, p.value)
		}
	}
	if c.AccessLife > 15*time.Minute {
		wrong("access-life %s: at most 15m, the life of a revocation", c.AccessLife)
	}
	for _, p := range c.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			wrong("trusted-proxies: %q is not a network such as 10.0.0.0/8", p)
		}
	}
	return errors.Join(problems...)
}

// durableByBarrier tells whether one syncfs per group makes commits durable, or each message's own sync.
func (c Config) durableByBarrier(linux bool) bool {
	switch c.Sync {
	case "barrier":
		return true
	case "always":
		return false
	default:
		return linux && c.NATSListen == ""
	}
}
