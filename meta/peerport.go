package meta

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// peerPort serves the port of raft: what etcd answers there, once it runs, and
// beside that how this node stands and whom it lets into the cluster.
type peerPort struct {
	server *http.Server
	etcd   atomic.Pointer[http.Handler] // nil until etcd runs
}

const (
	standPath = "/chronik/stand"
	admitPath = "/chronik/admit"
	// maxAnswer bounds what is read of another node's answer.
	maxAnswer = 1 << 20
)

// serve answers until close. A port that breaks is told to fail.
func (p *peerPort) serve(m *Meta, l net.Listener, fail func(error)) error {
	l, err := m.cfg.TLS.listener(l)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+standPath, m.serveStand)
	mux.HandleFunc("POST "+admitPath, m.serveAdmit)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if h := p.etcd.Load(); h != nil {
			(*h).ServeHTTP(w, r)
			return
		}
		http.Error(w, "etcd has not started", http.StatusServiceUnavailable)
	})
	p.server = &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       5 * time.Minute, // a member sends its whole database
	}
	go func() {
		if err := p.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fail(fmt.Errorf("serve --peer-listen: %w", err))
		}
	}()
	return nil
}

func (p *peerPort) close() {
	if p.server != nil {
		p.server.Close()
	}
}

func (m *Meta) serveStand(w http.ResponseWriter, _ *http.Request) {
	stage, err := m.cfg.directory().look()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, m.stand(stage))
}

func (m *Meta) serveAdmit(w http.ResponseWriter, r *http.Request) {
	var a admission
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAnswer)).Decode(&a); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ok, err := m.admit(r.Context(), a)
	switch {
	case errors.Is(err, errForeign):
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	answer(w, ok)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// An error here is the other node's: it has gone away.
	_ = json.NewEncoder(w).Encode(v)
}

// peerClient asks other nodes on their peer ports.
type peerClient struct {
	scheme string
	http   http.Client
}

func (p *peerClient) init(cfg Config) error {
	config, err := cfg.TLS.Client()
	p.scheme, p.http.Transport = cfg.scheme(), &http.Transport{TLSClientConfig: config, IdleConnTimeout: time.Minute}
	return err
}

// ask asks a node how it stands.
func (p *peerClient) ask(ctx context.Context, addr string) (s stand, err error) {
	return s, p.call(ctx, http.MethodGet, addr+standPath, nil, &s)
}

// admit asks a member to let this node in.
func (p *peerClient) admit(ctx context.Context, addr string, a admission) (ok admitted, err error) {
	body, err := json.Marshal(a)
	if err != nil {
		return ok, err
	}
	return ok, p.call(ctx, http.MethodPost, addr+admitPath, body, &ok)
}

func (p *peerClient) call(ctx context.Context, method, url string, body []byte, result any) error {
	req, err := http.NewRequestWithContext(ctx, method, p.scheme+"://"+url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusForbidden {
		return fmt.Errorf("%w%s", errForeign, strings.TrimPrefix(strings.TrimSpace(string(text)), errForeign.Error()))
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(text)))
	}
	return json.Unmarshal(text, result)
}
