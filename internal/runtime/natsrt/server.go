package natsrt

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"latchkey/internal/secret"
)

// ServerOptions says how the embedded server runs.
type ServerOptions struct {
	Host string // 127.0.0.1
	Port int    // 0: a free one
	// StoreDir turns JetStream on, which fan-out and task delivery use. It never
	// holds the only copy of anything.
	StoreDir string
	// WorkerPassword is random unless set, which workers on other machines need.
	WorkerPassword secret.Text
	Log            *slog.Logger
}

// Server is an embedded NATS server with two accounts: one for edges and
// workers, one for the events of connections.
type Server struct {
	ns                            *server.Server
	edgePass, workerPass, sysPass secret.Text
}

const (
	platformAccount = "LATCHKEY"
	systemAccount   = "SYS"
	edgeUser        = "edge"
	workerUser      = "worker"
	sysUser         = "sys"
)

// StartServer starts the embedded server. It listens on loopback unless told
// otherwise, for workers; the platform connects within the process.
func StartServer(o ServerOptions) (*Server, error) {
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s := &Server{edgePass: randomPassword(), workerPass: o.WorkerPassword, sysPass: randomPassword()}
	if s.workerPass == "" {
		s.workerPass = randomPassword()
	}
	platform, sys := server.NewAccount(platformAccount), server.NewAccount(systemAccount)
	ns, err := server.NewServer(&server.Options{
		ServerName: "latchkey", Host: o.Host, Port: o.Port, NoSigs: true, NoLog: true,
		MaxPayload: 2 << 20,
		// A worker that hangs must leave the queue group soon: the server sends
		// it calls until its connection is stale.
		PingInterval: time.Second, MaxPingsOut: 2,
		JetStream: o.StoreDir != "", StoreDir: o.StoreDir,
		SystemAccount: systemAccount,
		Accounts:      []*server.Account{platform, sys},
		Users: []*server.User{
			{Username: edgeUser, Password: s.edgePass.Reveal(), Account: platform, Permissions: edgePermissions()},
			{Username: workerUser, Password: s.workerPass.Reveal(), Account: platform, Permissions: workerPermissions()},
			{Username: sysUser, Password: s.sysPass.Reveal(), Account: sys, Permissions: sysPermissions()},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("start nats: %w", err)
	}
	if o.Log != nil {
		ns.SetLoggerV2(serverLog{o.Log}, false, false, false)
	}
	s.ns = ns
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		s.Close()
		return nil, fmt.Errorf("start nats: not ready on %s:%d within 10 s; is the port taken?", o.Host, o.Port)
	}
	if o.StoreDir != "" {
		acc, err := ns.LookupAccount(platformAccount)
		if err == nil {
			err = acc.EnableJetStream(nil, nil)
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("start nats: turn on JetStream in %s: %w", o.StoreDir, err)
		}
	}
	return s, nil
}

func randomPassword() secret.Text { return secret.Text(rand.Text()) }

// edgePermissions: an edge hands out calls and serves openings; it also uses
// JetStream for fan-out and tasks.
func edgePermissions() *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			callPrefix + ">", controlPrefix + ">", inboxPrefix + ">", replyPrefix + ".>", rollCall,
			"evt.>", "task.>", "_INBOX.>", "$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$KV.>",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{
			inboxPrefix + ">", openingGet + " " + edgesQueue, announce, "evt.>", "task.>", "_INBOX.>", "$KV.>",
		}},
	}
}

// workerPermissions: a worker sees calls only as a member of the queue group,
// so that it cannot listen to those of others, and cannot hand out any.
func workerPermissions() *server.Permissions {
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{inboxPrefix + ">", openingGet, announce}},
		Subscribe: &server.SubjectPermission{Allow: []string{callPrefix + "> " + workersQueue, controlPrefix + "*", rollCall, replyPrefix + ".>"}},
	}
}

func sysPermissions() *server.Permissions {
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Deny: []string{">"}},
		Subscribe: &server.SubjectPermission{Allow: []string{disconnects}},
	}
}

// EdgeConn connects an edge within the process.
func (s *Server) EdgeConn(name string) (*nats.Conn, error) {
	return s.connect(name, edgeUser, s.edgePass)
}

// SysConn connects to the account that hears of connections.
func (s *Server) SysConn() (*nats.Conn, error) { return s.connect("sys", sysUser, s.sysPass) }

func (s *Server) connect(name, user string, pass secret.Text) (*nats.Conn, error) {
	nc, err := nats.Connect("", append(house(name, "_INBOX"), nats.InProcessServer(s.ns), nats.UserInfo(user, pass.Reveal()))...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded nats as %s: %w", user, err)
	}
	return nc, nil
}

// WorkerURL is what a worker connects with.
func (s *Server) WorkerURL() secret.Text {
	u, err := url.Parse(s.ns.ClientURL())
	if err != nil {
		panic(err) // the server made it
	}
	u.User = url.UserPassword(workerUser, s.workerPass.Reveal())
	return secret.Text(u.String())
}

// Close stops the server.
func (s *Server) Close() error {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	return nil
}

// serverLog passes warnings and worse to slog. The rest is noise here.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Warnf(f string, v ...any)  { l.log.Warn("nats: " + fmt.Sprintf(f, v...)) }
func (l serverLog) Errorf(f string, v ...any) { l.log.Error("nats: " + fmt.Sprintf(f, v...)) }
func (l serverLog) Fatalf(f string, v ...any) { l.log.Error("nats: " + fmt.Sprintf(f, v...)) }
func (serverLog) Noticef(string, ...any)      {}
func (serverLog) Debugf(string, ...any)       {}
func (serverLog) Tracef(string, ...any)       {}
