//go:build !plantedbugs

package broker

// planted says whether this build carries a bug on purpose, to see it caught. No build that
// anyone runs does.
func planted(string) bool { return false }
