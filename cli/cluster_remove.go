package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// removePatience bounds the removal of a node, removedLives how long it lives on when
	// it is no member of etcd any more.
	removePatience = time.Minute
	removedLives   = 15 * time.Second
	// memberSettles is longer than etcd counts a member as away that has just connected.
	memberSettles = 10 * time.Second
)

// removeNode takes a node out of the cluster for good, alive or not: others lead what it
// led and get its replicas, and then its member of etcd and its registration go. It refuses
// while the node has a replica that no other one that is alive has in sync.
func removeNode(c *cli.Context) error {
	id, err := oneArg(c, "node id")
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(id, 10, 32)
	if err != nil || n < 1 {
		return usagef("%q is no node id", id)
	}
	client, ctx, stop, err := etcdClient(c)
	if err != nil {
		return err
	}
	defer stop()
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, removePatience)
	defer cancel()
	if err := asksAnother(ctx, client, id); err != nil {
		return err
	}
	moved, err := moveReplicas(ctx, client, int32(n))
	if err != nil {
		return err
	}
	removed, err := removeMember(ctx, client, id)
	if err != nil {
		return err
	}
	if removed {
		awaitEnd(ctx, client, id)
	}
	late, err := moveReplicas(ctx, client, int32(n)) // what was placed there until it ended
	if err != nil {
		return err
	}
	moved.replaced, moved.fewer = moved.replaced+late.replaced, moved.fewer+late.fewer
	known, err := unregister(ctx, client, id)
	if err != nil {
		return err
	}
	if !known && !removed {
		return fmt.Errorf("there is no node %s", id)
	}
	_, err = fmt.Fprintf(c.App.Writer, "removed node %s%s\n", id, moved)
	return err
}

// asksAnother refuses to have a node removed through itself alone: it would not answer to
// the end.
func asksAnother(ctx context.Context, client *clientv3.Client, id string) error {
	list, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, endpoint := range client.Endpoints() {
		status, err := client.Status(ctx, endpoint)
		if err != nil {
			continue // it does not answer; another one did
		}
		for _, m := range list.Members {
			if m.ID == status.Header.MemberId && m.Name != id {
				return nil
			}
		}
	}
	return fmt.Errorf("node %s cannot be removed through itself: name another one's etcd listener with --etcd", id)
}

// moves is what became of the replicas of a node.
type moves struct{ replaced, fewer int }

func (m moves) String() string {
	text := ""
	if m.replaced > 0 {
		text += fmt.Sprintf("; %d partitions have a replica on another node instead, which copies the records now", m.replaced)
	}
	if m.fewer > 0 {
		text += fmt.Sprintf("; %d partitions have one replica less: every node has one already", m.fewer)
	}
	return text
}

// moveReplicas takes a node out of all partitions. Those that changed meanwhile are looked
// at again, and so are all until none is left.
func moveReplicas(ctx context.Context, client *clientv3.Client, id int32) (done moves, err error) {
	for {
		v, err := readNodes(ctx, client)
		if err != nil {
			return done, err
		}
		all, blocking := v.of(id)
		if n := len(blocking); n > 0 {
			return done, fmt.Errorf("node %d stays: no other active node has in sync %d of its partitions: %s", id, n, someOf(blocking))
		}
		if len(all) == 0 {
			return done, nil
		}
		for _, a := range all {
			next := a.without(v, id)
			written, err := v.write(ctx, client, a, next)
			if err != nil {
				return done, err
			}
			switch {
			case written && len(next.Replicas) < len(a.Replicas):
				done.fewer++
			case written:
				done.replaced++
			}
		}
	}
}

// someOf names a few.
func someOf(names []string) string {
	if len(names) > mostNamed {
		names = append(names[:mostNamed:mostNamed], "…")
	}
	return strings.Join(names, " ")
}

// write writes a partition if it is as it was and its leader lives on and is active.
func (v *nodeView) write(ctx context.Context, client *clientv3.Client, was, next *assignment) (bool, error) {
	value, err := next.encode()
	if err != nil {
		return false, err
	}
	leader := v.active[next.Leader]
	unchanged := func(key string, rev int64) clientv3.Cmp { return clientv3.Compare(clientv3.ModRevision(key), "=", rev) }
	resp, err := client.Txn(ctx).If(
		unchanged(was.key, was.rev),
		unchanged(fmt.Sprint(keyspace, "live/", next.Leader), leader.live),
		unchanged(fmt.Sprint(keyspace, "brokers/", next.Leader), leader.broker),
	).Then(clientv3.OpPut(was.key, value)).Commit()
	if err != nil {
		return false, err
	}
	return resp.Succeeded, nil
}

// awaitEnd waits until a node that is no member any more is not alive: it ends by itself.
func awaitEnd(ctx context.Context, client *clientv3.Client, id string) {
	ctx, cancel := context.WithTimeout(ctx, removedLives)
	defer cancel()
	for {
		resp, err := client.Get(ctx, keyspace+"live/"+id)
		if err == nil && len(resp.Kvs) == 0 || errors.Is(err, context.DeadlineExceeded) {
			return
		}
		if !sleepUntil(ctx, time.Now().Add(100*time.Millisecond)) {
			return
		}
	}
}

// unregister deletes the registration of a broker that is not alive.
func unregister(ctx context.Context, client *clientv3.Client, id string) (known bool, err error) {
	live := keyspace + "live/" + id
	resp, err := client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(live), "=", 0)).
		Then(clientv3.OpDelete(keyspace + "brokers/" + id)).Commit()
	if err != nil {
		return false, err
	}
	if !resp.Succeeded {
		return false, fmt.Errorf("node %s has no replicas any more, but is alive, or was until a moment ago: stop it, and do this again", id)
	}
	return resp.Responses[0].GetResponseDeleteRange().Deleted > 0, nil
}

// removeMember takes the node's member out of etcd. Etcd refuses where too few are there,
// and for five seconds after a member connected.
func removeMember(ctx context.Context, client *clientv3.Client, id string) (removed bool, err error) {
	list, err := client.MemberList(ctx)
	if err != nil {
		return false, err
	}
	n := slices.IndexFunc(list.Members, func(m *etcdserverpb.Member) bool { return m.Name == id })
	if n < 0 {
		return false, nil
	}
	for began := time.Now(); ; {
		_, err = client.MemberRemove(ctx, list.Members[n].ID)
		if !errors.Is(err, rpctypes.ErrUnhealthy) {
			return err == nil, err
		}
		if time.Since(began) > memberSettles || !sleepUntil(ctx, time.Now().Add(memberSettles/20)) {
			return false, fmt.Errorf("node %s stays a member: too few of the others are connected: %w", id, err)
		}
	}
}
