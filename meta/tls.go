package meta

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// TLS names the files of this node's certificate and of the authority that signed
// those of all nodes and their clients. The zero value is no TLS.
type TLS struct{ Cert, Key, CA string }

// check refuses one file without the others.
func (t TLS) check() error {
	if t != (TLS{}) && (t.Cert == "" || t.Key == "" || t.CA == "") {
		return errors.New("--peer-cert, --peer-key and --peer-ca belong together: give all three or none")
	}
	return nil
}

// etcd is how etcd is told: whoever connects shows a certificate, too.
func (t TLS) etcd() transport.TLSInfo {
	return transport.TLSInfo{CertFile: t.Cert, KeyFile: t.Key, TrustedCAFile: t.CA, ClientCertAuth: t != TLS{}}
}

func (t TLS) server() (*tls.Config, error) {
	if t == (TLS{}) {
		return nil, nil
	}
	c, err := t.etcd().ServerConfig()
	if err != nil {
		return nil, fmt.Errorf("--peer-cert %s, --peer-key %s, --peer-ca %s: %w", t.Cert, t.Key, t.CA, err)
	}
	return c, nil
}

// Client is what a client of etcd on a node needs; nil without TLS.
func (t TLS) Client() (*tls.Config, error) {
	if t == (TLS{}) {
		return nil, nil
	}
	return t.etcd().ClientConfig()
}

// listener speaks TLS on l where that is configured.
func (t TLS) listener(l net.Listener) (net.Listener, error) {
	c, err := t.server()
	if err != nil || c == nil {
		return l, err
	}
	c.NextProtos = []string{"http/1.1"}
	return tls.NewListener(l, c), nil
}
