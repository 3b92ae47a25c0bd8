package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	CA   string // file
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{CA: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = template, newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.CA, "CERTIFICATE", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// flags are those of a node or a client with a certificate that the authority signed.
func (a *authority) flags(t *testing.T) []string {
	t.Helper()
	dir, key := t.TempDir(), newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "node"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, keyFile, "EC PRIVATE KEY", keyDER)
	return []string{"--peer-cert", cert, "--peer-key", keyFile, "--peer-ca", a.CA}
}

// With certificates the etcd of a cluster speaks TLS on both ports, with those alone
// who show one of the same authority.
func TestClusterTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	c := NewCluster(t, 3)
	for _, n := range c.Nodes {
		n.args = append(n.args, a.flags(t)...)
	}
	c.Start()
	c.WaitAllReady()
	fourth := NewNode(t, NodeConfig{ID: 4, Args: append(a.flags(t), "--join", c.Node(1).Etcd)})
	c.Nodes = append(c.Nodes, fourth)
	fourth.Start()
	c.WaitAllReady()
	command := func(more ...string) result {
		return chronik(t, "", append([]string{"cluster", "status", "-b", c.Bootstrap(), "--etcd", fourth.Etcd}, more...)...)
	}
	eventually(t, 30*time.Second, func() error { return command(a.flags(t)...).asError() })
	if out := must(t, "", append([]string{"meta", "get", "--etcd", c.Node(1).Etcd, "brokers/4"}, a.flags(t)...)...); !strings.Contains(out, "active") {
		t.Errorf("meta get prints %s", out)
	}
	for who, flags := range map[string][]string{"nobody": nil, "another authority's": newAuthority(t).flags(t)} {
		if r := command(flags...); r.code == 0 || !strings.Contains(r.out, "no node's etcd") {
			t.Errorf("a client with certificate of %s: exit code %d, %s", who, r.code, r.out)
		}
	}
	for _, addr := range []string{c.Node(1).Peer, c.Node(1).Etcd} {
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			// The refusal comes with the first read.
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s without a certificate: %v", addr, err)
		}
	}
}
