package broker

import (
	"context"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/wire"
)

// A route is one request type that this broker answers, in the versions it
// answers. One of serve, later and raw is set.
type route struct {
	min, max int16
	serve    func(context.Context, *conn, kmsg.Request) (kmsg.Response, error)
	later    func(ctx context.Context, c *conn, req kmsg.Request, a *laterAnswer) error
	raw      func(c *conn, ctx context.Context, h wire.RequestHeader, body []byte) error // Produce and Fetch: the frame's bytes, no kmsg
	private  bool                                                                        // between brokers: no client is told of it
	early    bool                                                                        // answered before the broker is ready
}

// on makes a route of a typed handler; the handler fills resp. An error that it
// returns means that no answer is possible and closes the connection.
func on[Q kmsg.Request, P kmsg.Response](low, high int16, h func(context.Context, *conn, Q, P) error) route {
	return route{min: low, max: high, serve: func(ctx context.Context, c *conn, req kmsg.Request) (kmsg.Response, error) {
		resp := req.ResponseKind().(P)
		return resp, h(ctx, c, req.(Q), resp)
	}}
}

// later makes a route of a handler that may answer after it returned: it fills resp
// and calls done, once, from any goroutine.
func later[Q kmsg.Request, P kmsg.Response](low, high int16, h func(ctx context.Context, c *conn, req Q, resp P, done func()) error) route {
	return route{min: low, max: high, later: func(ctx context.Context, c *conn, req kmsg.Request, a *laterAnswer) error {
		a.resp = req.ResponseKind()
		return h(ctx, c, req.(Q), a.resp.(P), a.done)
	}}
}

// routeTable is THE TABLE: key, versions, handler. ApiVersions is derived from it.
func (b *Broker) routeTable() map[int16]route {
	apiVersions := on(0, 5, b.apiVersions)
	apiVersions.early = true
	return map[int16]route{
		0:  {min: 0, max: 13, raw: (*conn).produce},
		1:  {min: 4, max: 18, raw: (*conn).fetch},
		2:  on(1, 11, b.listOffsets),
		3:  later(0, 13, b.metadata),
		8:  later(2, 10, b.offsetCommit),
		9:  later(1, 10, b.offsetFetch),
		10: later(0, 6, b.findCoordinator),
		11: later(0, 9, b.joinGroup),
		12: later(0, 4, b.heartbeat),
		13: later(0, 5, b.leaveGroup),
		14: later(0, 5, b.syncGroup),
		15: later(0, 6, b.describeGroups),
		16: later(0, 5, b.listGroups),
		18: apiVersions,
		19: on(2, 7, b.createTopics),
		20: on(1, 6, b.deleteTopics),
		21: on(0, 2, b.deleteRecords),
		22: on(0, 5, b.initProducerID),
		23: on(2, 4, b.offsetForLeaderEpoch),
		32: on(1, 4, b.describeConfigs),
		33: on(0, 2, b.alterConfigs),
		35: on(1, 4, b.describeLogDirs),
		37: on(0, 3, b.createPartitions),
		42: later(0, 2, b.deleteGroups),
		43: on(0, 2, b.electLeaders),
		44: on(0, 1, b.incrementalAlterConfigs),
		46: on(0, 0, b.listPartitionReassignments),
		47: later(0, 0, b.offsetDelete),
		60: on(0, 2, b.describeCluster),
		75: later(0, 0, b.describeTopicPartitions),

		wire.PeerKey: {raw: (*conn).peer, early: true, private: true},
	}
}

// apiName is how figures name a request type.
func apiName(key int16) string {
	if key == wire.PeerKey {
		return "Peer"
	}
	return kmsg.NameForKey(key)
}

// API is one line of the table of supported requests.
type API struct {
	Key      int16
	Name     string
	Min, Max int16
}

// APIs lists what this broker answers clients, by key.
func (b *Broker) APIs() []API {
	var apis []API
	for _, key := range slices.Sorted(maps.Keys(b.routes)) {
		if r := b.routes[key]; !r.private {
			apis = append(apis, API{Key: key, Name: kmsg.NameForKey(key), Min: r.min, Max: r.max})
		}
	}
	return apis
}
