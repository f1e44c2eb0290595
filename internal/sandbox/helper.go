package sandbox

// The helper is this very program, started as `program __sandbox stage`
// outside, where it prepares what the sandbox is made of and gives up its
// rights, and as `program __sandbox inside` in the sandbox, where it sets the
// limits that count from there, and becomes the tenant's process.
const helperWord = "__sandbox"
