// Package logstore keeps partition logs on disk.
package logstore
