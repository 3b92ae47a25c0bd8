package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/wire"
)

const (
	apiVersionsKey = 18

	// startPatience is how long a request waits for a broker that is starting.
	startPatience = 10 * time.Second
)

// errRequest ends a connection whose request cannot be answered.
var errRequest = errors.New("bad request")

// serve is the dispatcher: it finds the route, checks the version, waits for the
// broker to be ready, and has the request answered. An error closes the connection.
func (c *conn) serve(ctx context.Context, frame []byte) error {
	h, body, err := wire.ParseRequestHeader(frame)
	if err != nil {
		return fmt.Errorf("%w: header of key %d version %d: %w", errRequest, h.Key, h.Version, err)
	}
	r, ok := c.b.routes[h.Key]
	if !ok {
		return fmt.Errorf("%w: key %d is not served", errRequest, h.Key)
	}
	c.b.metrics.requests[h.Key].Inc()
	if h.Version < r.min || h.Version > r.max {
		if h.Key == apiVersionsKey {
			if err := c.commit(ctx); err != nil {
				return err
			}
			return c.submit(ctx, &typedAnswer{h, c.b.unsupportedApiVersions()})
		}
		return fmt.Errorf("%w: %s version %d is not served", errRequest, kmsg.NameForKey(h.Key), h.Version)
	}
	if !r.early {
		if err := c.b.awaitReady(ctx); err != nil {
			return err
		}
	}
	if r.raw != nil {
		return r.raw(c, ctx, h, body)
	}
	if err := c.commit(ctx); err != nil {
		return err
	}
	return c.serveTyped(ctx, r, h, body)
}

// serveTyped decodes a request through kmsg and has its handler answer it.
func (c *conn) serveTyped(ctx context.Context, r route, h wire.RequestHeader, body []byte) error {
	req := kmsg.RequestForKey(h.Key)
	req.SetVersion(h.Version)
	if most := c.b.limits.largest; len(body) > most {
		return fmt.Errorf("%w: %s of %d bytes, above request.decode.max.bytes=%d", errRequest, kmsg.NameForKey(h.Key), len(body), most)
	}
	memory := c.b.limits.decoding(len(body))
	taken, err := memory.take(ctx, int64(len(body))*decodeFactor)
	if err != nil {
		return err
	}
	defer memory.give(taken)
	if err := req.ReadFrom(body); err != nil {
		return fmt.Errorf("%w: %s version %d: %w", errRequest, kmsg.NameForKey(h.Key), h.Version, err)
	}
	began := time.Now()
	if r.later != nil {
		c.clientID = string(h.ClientID)
		a := &laterAnswer{typedAnswer: typedAnswer{h: h}, queue: c.queue, began: began, took: c.b.metrics.latency[h.Key]}
		if err := r.later(ctx, c, req, a); err != nil {
			return fmt.Errorf("%s: %w", kmsg.NameForKey(h.Key), err)
		}
		return c.submit(ctx, a)
	}
	resp, err := r.serve(ctx, c, req)
	if err != nil {
		return fmt.Errorf("%s: %w", kmsg.NameForKey(h.Key), err)
	}
	resp.SetVersion(h.Version)
	c.b.metrics.latency[h.Key].Observe(time.Since(began).Seconds())
	return c.submit(ctx, &typedAnswer{h, resp})
}

// awaitReady waits, as long as a client would, until the broker leads its partitions.
func (b *Broker) awaitReady(ctx context.Context) error {
	select {
	case <-b.ready:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("not ready: %s", b.why()))
	defer cancel()
	if !waitFor(ctx, b.ready) {
		return context.Cause(ctx)
	}
	return nil
}

// apiVersions answers what the table of routes says. A v5 request that names
// another cluster or node is told to bootstrap again (KIP-1242).
func (b *Broker) apiVersions(_ context.Context, _ *conn, req *kmsg.ApiVersionsRequest, resp *kmsg.ApiVersionsResponse) error {
	if req.Version >= 3 && !(validClientName(req.ClientSoftwareName) && validClientName(req.ClientSoftwareVersion)) {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return nil
	}
	if b.mistaken(req) {
		resp.ErrorCode = kerr.RebootstrapRequired.Code
		return nil
	}
	for _, a := range b.APIs() {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = a.Key, a.Min, a.Max
		resp.ApiKeys = append(resp.ApiKeys, k)
	}
	features(resp)
	return nil
}

// The levels of the metadata that tools for Kafka may count on.
const (
	lowestMetadataVersion = 7  // of Kafka 3.3, the lowest that Kafka 4 knows
	metadataVersion       = 29 // of Kafka 4.2
)

// features tells which levels of features are in force (KIP-584).
func features(resp *kmsg.ApiVersionsResponse) {
	s := kmsg.NewApiVersionsResponseSupportedFeature()
	s.Name, s.MinVersion, s.MaxVersion = "metadata.version", lowestMetadataVersion, metadataVersion
	f := kmsg.NewApiVersionsResponseFinalizedFeature()
	f.Name, f.MinVersionLevel, f.MaxVersionLevel = s.Name, metadataVersion, metadataVersion
	resp.SupportedFeatures, resp.FinalizedFeatures = append(resp.SupportedFeatures, s), append(resp.FinalizedFeatures, f)
	resp.FinalizedFeaturesEpoch = 1 // they never change while a broker runs
}

// mistaken reports whether the client believes to talk to another broker.
func (b *Broker) mistaken(req *kmsg.ApiVersionsRequest) bool {
	if req.Version < 5 {
		return false
	}
	if req.NodeID >= 0 && req.NodeID != b.cfg.NodeID {
		return true
	}
	snap := b.meta.Snapshot()
	return req.ClusterID != nil && snap != nil && *req.ClusterID != snap.Cluster().ID
}

// unsupportedApiVersions is the answer to a version above ours: version 0, with
// the one range that tells the client how to ask again (KIP-511).
func (b *Broker) unsupportedApiVersions() kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	k := kmsg.NewApiVersionsResponseApiKey()
	r := b.routes[apiVersionsKey]
	k.ApiKey, k.MinVersion, k.MaxVersion = apiVersionsKey, r.min, r.max
	resp.ApiKeys = append(resp.ApiKeys, k)
	return resp
}

// validClientName is Kafka's rule for client software names and versions (KIP-511).
func validClientName(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && (c != '-' && c != '.' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != ""
}
