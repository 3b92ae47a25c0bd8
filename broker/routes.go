package broker

import (
	"context"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/wire"
)

// A route is one request type that this broker answers, in the versions it
// answers. Either serve or raw is set.
type route struct {
	min, max int16
	serve    func(context.Context, *conn, kmsg.Request) (kmsg.Response, error)
	raw      func(c *conn, ctx context.Context, h wire.RequestHeader, body []byte) error // Produce and Fetch: the frame's bytes, no kmsg
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

// routeTable is THE TABLE: key, versions, handler. ApiVersions is derived from it.
func (b *Broker) routeTable() map[int16]route {
	apiVersions := on(0, 5, b.apiVersions)
	apiVersions.early = true
	return map[int16]route{
		0:  {min: 0, max: 13, raw: (*conn).produce},
		1:  {min: 4, max: 18, raw: (*conn).fetch},
		2:  on(1, 11, b.listOffsets),
		3:  on(0, 13, b.metadata),
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
		44: on(0, 1, b.incrementalAlterConfigs),
		46: on(0, 0, b.listPartitionReassignments),
		60: on(0, 2, b.describeCluster),
		75: on(0, 0, b.describeTopicPartitions),
	}
}

// API is one line of the table of supported requests.
type API struct {
	Key      int16
	Name     string
	Min, Max int16
}

// APIs lists what this broker answers, by key.
func (b *Broker) APIs() []API {
	var apis []API
	for _, key := range slices.Sorted(maps.Keys(b.routes)) {
		r := b.routes[key]
		apis = append(apis, API{Key: key, Name: kmsg.NameForKey(key), Min: r.min, Max: r.max})
	}
	return apis
}
