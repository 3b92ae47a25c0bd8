package meta

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// settleCluster makes the cluster key, or finds it, and holds it against the data
// directory. It waits for a quorum as long as it takes.
func (m *Meta) settleCluster(ctx context.Context) error {
	for {
		kv, err := m.clusterKV(ctx)
		if err == nil {
			return m.checkCluster(ctx, kv)
		}
		if !errors.Is(err, ErrNoQuorum) && !errors.Is(err, ErrTimeout) || ctx.Err() != nil {
			return err
		}
		if m.waitsFor("waiting for a quorum of etcd to answer") {
			m.log.Warn("waiting for a quorum of etcd", "err", err)
		}
	}
}

// clusterKV reads the cluster key; the first node of a cluster creates it, and
// then it is nil.
func (m *Meta) clusterKV(ctx context.Context) (*mvccpb.KeyValue, error) {
	c := change{otherwise: []clientv3.Op{clientv3.OpGet(clusterKey)}}
	c.when(at(clusterKey, 0))
	if m.cfg.ClusterID == "" {
		value, err := encode(Cluster{ID: EncodeID(NewID()), Schema: Schema, Features: map[string]string{}})
		if err != nil {
			return nil, err
		}
		c.put(clusterKey, value)
	}
	resp, err := m.send(ctx, c)
	switch {
	case err != nil:
		return nil, err
	case resp.Succeeded && m.cfg.ClusterID != "":
		return nil, fmt.Errorf("the data directory belongs to cluster %s, but its metadata in %s is empty", m.cfg.ClusterID, m.cfg.Dir)
	case resp.Succeeded:
		return nil, nil
	}
	return resp.Responses[0].GetResponseRange().Kvs[0], nil
}

func (m *Meta) checkCluster(ctx context.Context, kv *mvccpb.KeyValue) error {
	if kv == nil {
		return nil
	}
	c, err := decodeCluster(kv.Value)
	if err != nil && !errors.Is(err, errNewerSchema) {
		if c, err = m.mendCluster(ctx, kv, err); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("%w: start that build, or an empty data directory", err)
	}
	if m.cfg.ClusterID != "" && m.cfg.ClusterID != c.ID {
		return fmt.Errorf("the data directory belongs to cluster %s, its metadata in %s to cluster %s", m.cfg.ClusterID, m.cfg.Dir, c.ID)
	}
	return nil
}

// mendCluster replaces a cluster key that a person made unreadable by what it was
// before, or else by what the data directory says.
func (m *Meta) mendCluster(ctx context.Context, kv *mvccpb.KeyValue, bad error) (c Cluster, err error) {
	rev := kv.ModRevision
	err = earlier(ctx, m.client, kv, func(kv *mvccpb.KeyValue) (err error) {
		c, err = decodeCluster(kv.Value)
		return err
	})
	if err != nil && m.cfg.ClusterID == "" {
		return c, fmt.Errorf("%s cannot be read (%w), and the data directory does not name its cluster either", clusterKey, bad)
	}
	if err != nil {
		c = Cluster{ID: m.cfg.ClusterID, Schema: Schema, Features: map[string]string{}}
	}
	value, err := encode(c)
	if err != nil {
		return c, err
	}
	m.log.Error("the cluster's key cannot be read; writing it anew", "key", clusterKey, "cluster", c.ID, "err", bad)
	mend := change{}
	mend.when(at(clusterKey, rev))
	mend.put(clusterKey, value)
	_, err = m.send(ctx, mend)
	return c, err
}
