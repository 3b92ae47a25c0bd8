package broker

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// The shared broker ends with the tests.
var (
	sharedDir       string
	sharedCtx, stop = context.WithCancel(context.Background())
	sharedEnd       = make(chan error, 1)
)

func TestMain(m *testing.M) {
	var err error
	if sharedDir, err = os.MkdirTemp("", "chronik-broker"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if b, err := shared(); err == nil && b != nil {
		stop()
		if err := <-sharedEnd; err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	_ = os.RemoveAll(sharedDir)
	os.Exit(code)
}
