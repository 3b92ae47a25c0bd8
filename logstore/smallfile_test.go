package logstore

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestSmallFile(t *testing.T) {
	kind := smallKind{magic: "testtest", version: 2}
	path := filepath.Join(t.TempDir(), "f")
	if _, _, err := kind.read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("absent: %v", err)
	}
	for _, body := range []string{"first", "", "a longer second"} {
		if err := kind.write(path, []byte(body)); err != nil {
			t.Fatal(err)
		}
		version, got, err := kind.read(path)
		if err != nil || version != 2 || string(got) != body {
			t.Fatalf("%d %q %v, wrote %q", version, got, err, body)
		}
	}
	if names, _ := filepath.Glob(path + "*"); len(names) != 1 {
		t.Errorf("files left: %v", names)
	}
	if _, _, err := (smallKind{magic: "testtest", version: 1}).read(path); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("newer: %v", err)
	}
	if _, _, err := (smallKind{magic: "othertes", version: 2}).read(path); !errors.Is(err, errBadFile) {
		t.Errorf("other kind: %v", err)
	}
}

// Whatever is cut, added or flipped, a damaged file is known as damaged, never as newer.
func TestSmallFileDamage(t *testing.T) {
	kind := smallKind{magic: "testtest", version: 1}
	whole := kind.frame([]byte("some body"))
	damaged := func(what string, i int, p []byte) {
		if _, body, err := kind.open(p); !errors.Is(err, errBadFile) {
			t.Errorf("%s at %d: %q, %v", what, i, body, err)
		}
	}
	for i := range whole {
		damaged("cut", i, whole[:i])
		for bit := range 8 {
			p := bytes.Clone(whole)
			p[i] ^= 1 << bit
			damaged("flip", i, p)
		}
	}
	damaged("longer", len(whole), append(bytes.Clone(whole), 0))
	damaged("zeros", 0, make([]byte, len(whole)))
}

func TestSmallFileFailedWriteKeepsTheOldOne(t *testing.T) {
	kind := smallKind{magic: "testtest", version: 1}
	path := filepath.Join(t.TempDir(), "f")
	if err := kind.write(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".tmp", 0o700); err != nil { // so that the temporary file cannot be made
		t.Fatal(err)
	}
	if err := kind.write(path, []byte("new")); err == nil {
		t.Fatal("no error")
	}
	if _, body, err := kind.read(path); err != nil || string(body) != "old" {
		t.Fatalf("%q %v", body, err)
	}
}
