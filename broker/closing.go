package broker

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// closesFirst has the kernel close a socket before nearly all others when the process is
// killed: it closes files from the highest number down, so the socket gets a high number
// beside its own. It stays open until release is called, too. Where that fails, the socket
// is closed in its turn.
func closesFirst(socket any) (release func()) {
	release = func() {}
	sc, ok := socket.(syscall.Conn)
	if !ok {
		return release
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return release
	}
	_ = raw.Control(func(fd uintptr) { // fails only where the socket is closed
		if high, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, highFile()); err == nil {
			release = func() { _ = unix.Close(high) } // nothing was written to it
		}
	})
	return release
}

// highFile is a number above those of nearly all files. The kernel's table of files, of 8
// bytes each, reaches up to the highest.
func highFile() int {
	var most unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &most); err != nil {
		return 0
	}
	return max(0, int(min(most.Cur, 1<<16))-256)
}
