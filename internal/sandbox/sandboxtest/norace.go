//go:build linux && !race

package sandboxtest

const raceDetector = false
