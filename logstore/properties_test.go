package logstore

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestPropertiesStay(t *testing.T) {
	dir := t.TempDir()
	p, created, err := openProperties(dir, 3)
	if err != nil || !created || !p.NewDirectory || p.DirectoryID == [16]byte{} {
		t.Fatalf("%+v, %v, %v", p, created, err)
	}
	p.ClusterID, p.BootID, p.OtherBoot, p.NewDirectory = "c=1", "b", true, false
	p.Suspects = map[ID]string{{Topic: [16]byte{1}, Partition: 2}: "segment 1\nmissing", {Partition: 7}: ""}
	if err := p.write(dir); err != nil {
		t.Fatal(err)
	}
	p.Suspects[ID{Topic: [16]byte{1}, Partition: 2}] = "segment 1 missing"
	got, created, err := openProperties(dir, 3)
	if err != nil || created || !reflect.DeepEqual(got, p) {
		t.Fatalf("got %+v, %v, %v; want %+v", got, created, err, p)
	}
	if _, _, err := openProperties(dir, 4); !errors.Is(err, ErrNodeID) {
		t.Errorf("another node: %v", err)
	}
	if other, _, err := openProperties(t.TempDir(), 3); err != nil || other.DirectoryID == p.DirectoryID {
		t.Errorf("two directories with one id, %v", err)
	}
}

func TestPropertiesRefuse(t *testing.T) {
	for _, line := range []string{"node.id=x", "directory.id=abc", "what=1", "nothing", "suspect.log.x-1=a", "suspect.other.boot=maybe"} {
		if _, err := decodeProperties([]byte(line + "\n")); !errors.Is(err, errBadFile) {
			t.Errorf("%s: %v", line, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/"+propertiesName, []byte("version=1\nbroker.id=3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openProperties(dir, 3); !errors.Is(err, errBadFile) || !strings.Contains(err.Error(), propertiesName) {
		t.Errorf("Apache Kafka's file: %v", err)
	}
}

func TestLockDirectory(t *testing.T) {
	dir := t.TempDir()
	f, err := lockDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDirectory(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = lockDirectory(dir)
	if err != nil {
		t.Fatalf("after the lock was given back: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestID(t *testing.T) {
	for _, id := range []ID{{}, {Topic: [16]byte{0xff, 0xfe, 1}, Partition: 1<<31 - 1}, {Partition: 10}} {
		s := id.String()
		if got, ok := ParseID(s); !ok || got != id || strings.ContainsAny(s, "/.") {
			t.Errorf("%v: %v %v", s, got, ok)
		}
	}
	whole := ID{}.String()
	for _, s := range []string{"", "x", whole[:23], whole + "-delete", whole + "1", "/" + whole[1:], whole[:22] + "--1", whole[:22] + "-01", whole[:21] + "B-0"} {
		if id, ok := ParseID(s); ok && id.String() != s {
			t.Errorf("%q is %v", s, id)
		}
	}
	if _, ok := ParseID(whole[:22] + "-2147483648"); ok {
		t.Error("a partition above int32")
	}
}
