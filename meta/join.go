package meta

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// join gets this node into the cluster that one of the addresses of --join belongs
// to: as a learner, or, where there are voters enough, as a client of theirs.
func (m *Meta) join(ctx context.Context) (entry, error) {
	complained := false
	for {
		e, err := m.tryJoin(ctx)
		if err == nil || errors.Is(err, errForeign) || ctx.Err() != nil {
			return e, err
		}
		m.waitsFor("waiting to join the cluster: " + err.Error())
		if !complained {
			complained = true
			m.log.Warn("waiting to join the cluster", "err", err)
		}
		if !sleep(ctx, askRarely) {
			return entry{}, ctx.Err()
		}
	}
}

func (m *Meta) tryJoin(ctx context.Context) (entry, error) {
	client, err := m.dial(m.cfg.Join)
	if err != nil {
		return entry{}, err
	}
	defer client.Close()
	callCtx, cancel := context.WithTimeout(ctx, attemptDeadline)
	list, err := client.MemberList(callCtx)
	cancel()
	if err != nil {
		return entry{}, fmt.Errorf("no member of etcd answers at %s: %w", strings.Join(m.cfg.Join, ","), err)
	}
	var addrs []string
	for _, member := range list.Members {
		if member.Name != "" && len(member.PeerURLs) > 0 {
			addrs = append(addrs, hostOf(member.PeerURLs[0]))
		}
	}
	return m.apply(ctx, addrs)
}

// dial makes a client of members at addresses, host:port.
func (m *Meta) dial(addrs []string) (*clientv3.Client, error) {
	var endpoints []string
	for _, addr := range addrs {
		endpoints = append(endpoints, m.cfg.scheme()+"://"+addr)
	}
	tlsConfig, err := m.cfg.TLS.Client()
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: tlsConfig, Logger: zap.NewNop(),
		DialTimeout: attemptDeadline, DialKeepAliveTime: remoteSilence, DialKeepAliveTimeout: remotePatience,
		AutoSyncInterval: membersEvery, // voters come and go
	})
}

const (
	// A connection that tells nothing is tried after remoteSilence, the least that
	// gRPC allows, and given up when that gets no answer; meanwhile calls go to other
	// voters in turn.
	remoteSilence, remotePatience = 10 * time.Second, 2 * time.Second
	membersEvery                  = 30 * time.Second
)
