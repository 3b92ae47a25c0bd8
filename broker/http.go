package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// httpServer answers health checks and serves the metrics.
type httpServer struct{ listener net.Listener }

// listenHTTP binds the address; "" is no server.
func listenHTTP(addr string) (*httpServer, error) {
	if addr == "" {
		return &httpServer{}, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for health and metrics on %s (change it with --http-listen): %w", addr, err)
	}
	return &httpServer{listener: l}, nil
}

func (s *httpServer) addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

func (s *httpServer) close() error {
	if s.listener == nil {
		return nil
	}
	return s.listener.Close()
}

// run serves until ctx ends.
func (s *httpServer) run(ctx context.Context, b *Broker) error {
	if s.listener == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "alive\n") })
	mux.HandleFunc("GET /readyz", b.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(b.metrics.registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		if err := server.Close(); err != nil {
			b.log.Debug("close the HTTP server", "err", err)
		}
	})
	defer stop()
	if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// readyz is 200 when clients are served without restriction, else 503 with the reason.
func (b *Broker) readyz(w http.ResponseWriter, r *http.Request) {
	why := b.why()
	if why != "" {
		say(w, http.StatusServiceUnavailable, why+"\n")
		return
	}
	text := "ready\n"
	if r.URL.Query().Has("verbose") {
		snap := b.snap()
		text += fmt.Sprintf("cluster %s\nbroker %d\nlistener %s\ntopics %d\n", snap.Cluster().ID, b.cfg.NodeID, b.Addr(), snap.NumTopics())
	}
	say(w, http.StatusOK, text)
}

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	// An error here is the client's: it has gone away.
	_, _ = io.WriteString(w, text)
}

// why says what keeps the broker from serving everything, "" when nothing does.
func (b *Broker) why() string {
	if b.stopping.Load() {
		return "stopping"
	}
	if why := b.meta.Why(); why != "" {
		return why
	}
	select {
	case <-b.ready:
	default:
		return "recovering logs and waiting for leadership"
	}
	if why := b.diskLow(); why != "" {
		return why
	}
	return b.store.Trouble()
}

// diskLow says that producers are refused for want of space, "" when they are not.
func (b *Broker) diskLow() string {
	low, text := b.store.DiskLow()
	if !low {
		return ""
	}
	return fmt.Sprintf("disk nearly full on broker %d: %s", b.cfg.NodeID, text)
}
