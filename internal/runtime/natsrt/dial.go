package natsrt

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"latchkey/internal/secret"
)

var errURL = errors.New("not a NATS URL: write nats://user:password@host:port, several with commas")

// house are the options of every connection: keep trying, and notice a dead
// server within seconds.
func house(name, inbox string) []nats.Option {
	return []nats.Option{
		nats.Name(name),
		nats.CustomInboxPrefix(inbox),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(50*time.Millisecond, 100*time.Millisecond),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
	}
}

// newInstance makes the name of one run of a worker: the configured name and a
// random part, so that no other connection can pass for it.
func newInstance(name string) (string, error) {
	instance := name + "-" + strings.ToLower(rand.Text()[:instanceExtra-1])
	if !validToken(name) || !validToken(instance) {
		return "", fmt.Errorf("worker name %q: use up to %d characters without spaces, dots, * and >", name, maxInstance-instanceExtra)
	}
	return instance, nil
}

// DialWorker connects a worker of the given name to the server at u, which
// holds the credentials. It returns at once and keeps trying, saying so in the
// log, while the server cannot be reached.
func DialWorker(u secret.Text, name string, log *slog.Logger) (*nats.Conn, error) {
	instance, err := newInstance(name)
	if err != nil {
		return nil, err
	}
	// Workers have an inbox of their own: in _INBOX they could listen to what
	// edges are answered.
	return dial(u, house(instance, replyPrefix), log)
}

// DialEdge connects an edge to a server that is not the embedded one.
func DialEdge(u secret.Text, name string, log *slog.Logger) (*nats.Conn, error) {
	return dial(u, house(name, "_INBOX"), log)
}

func dial(u secret.Text, opts []nats.Option, log *slog.Logger) (*nats.Conn, error) {
	hosts, err := hostsOf(u)
	if err != nil {
		return nil, err
	}
	opts = append(opts,
		nats.RetryOnFailedConnect(true),
		nats.ConnectHandler(func(*nats.Conn) { log.Info("connected to NATS", "server", hosts) }),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("connected to NATS again", "server", hosts) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil when we closed it
				log.Warn("connection to NATS lost, trying again", "server", hosts, "err", err)
			}
		}),
		nats.ReconnectErrHandler(atMostEvery(5*time.Second, func(err error) {
			log.Warn("cannot reach NATS, trying again", "server", hosts, "err", err)
		})),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Error("NATS", "server", hosts, "err", err) }),
	)
	nc, err := nats.Connect(u.Reveal(), opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", hosts, err)
	}
	return nc, nil
}

// hostsOf is the part of a URL that may be printed. An error of url.Parse
// would print all of it.
func hostsOf(u secret.Text) (string, error) {
	var hosts []string
	for one := range strings.SplitSeq(u.Reveal(), ",") {
		parsed, err := url.Parse(strings.TrimSpace(one))
		if err != nil || parsed.Host == "" {
			return "", errURL
		}
		hosts = append(hosts, parsed.Host)
	}
	return strings.Join(hosts, ","), nil
}

func atMostEvery(d time.Duration, say func(error)) nats.ConnErrHandler {
	var mu sync.Mutex
	var last time.Time
	return func(_ *nats.Conn, err error) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); last.IsZero() || now.Sub(last) >= d {
			last = now
			say(err)
		}
	}
}
